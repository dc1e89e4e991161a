/* Character properties as the PTB tokenizer of CoreNLP 3.4.1 knows them: Unicode 6.1, basic plane. */
#ifndef OC_EVAL_PTB_UNICODE_H
#define OC_EVAL_PTB_UNICODE_H

#include <stdbool.h>

bool oc_ptb_is_letter(unsigned c);
bool oc_ptb_is_digit(unsigned c);
bool oc_ptb_is_upper(unsigned c);

#endif
