/* Character properties as the PTB tokenizer of CoreNLP 3.4.1 knows them: Unicode 6.1, basic plane. */
#ifndef OC_EVAL_PTB_UNICODE_H
#define OC_EVAL_PTB_UNICODE_H

/* Bits of oc_ptb_properties. An upper-case letter is a letter too. */
enum { OC_PTB_LETTER = 1, OC_PTB_DIGIT = 2, OC_PTB_UPPER = 4 };

unsigned oc_ptb_properties(unsigned c);

#endif
