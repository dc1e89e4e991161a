/* The rules of English tokens, Penn Treebank style, for oc_lexer. */
#ifndef OC_EVAL_PTB_RULES_H
#define OC_EVAL_PTB_RULES_H

#include "eval/ptb_lexer.h"

/* What becomes of a match. */
typedef enum {
    PTB_SKIP,     /* white space */
    PTB_NEWLINE,  /* ends a line of output */
    PTB_TEXT,     /* a token as it stands, less soft hyphens; blanks within become no-break spaces: "1 1/2" */
    PTB_RAW,      /* the same with soft hyphens: addresses */
    PTB_QUOTE,    /* quotes become ` `` ' ''; a straight one closes */
    PTB_OPEN,     /* the same, but a straight one opens */
    PTB_BRACKET,  /* ( [ { ) ] } become -LRB- -LSB- -LCB- -RRB- -RSB- -RCB- */
    PTB_PARENS,   /* only ( and ) do: "(555) 555-1212", ":-)" */
    PTB_DASH,     /* -- */
    PTB_DOTS,     /* ... */
    PTB_ENTITY,   /* &amp; &lt; &gt; within the token become & < > */
    PTB_CURRENCY, /* $ for euro, # for pound, cents */
    PTB_FRACTION, /* one character becomes 1/2 */
    PTB_PERIOD,   /* an abbreviation that also ends the sentence: its full stop is read again as a token */
    PTB_INITIAL   /* the same for one letter: it loses its full stop */
} ptb_action;

extern const oc_lex_macro oc_ptb_macros[];
extern const size_t oc_ptb_n_macros;
extern const oc_lex_rule oc_ptb_rules[];
extern const size_t oc_ptb_n_rules;

#endif
