/* A longest-match scanner made from a table of rules at run time: patterns -> one nondeterministic automaton
 * -> a deterministic one whose states are made when the text first needs them. It knows nothing of English;
 * ptb_rules.h has the rules and ptb.h what becomes of the matches. The number of states is finite (of those
 * rules: 5,986, 3.3 MB), so that no text can make it grow without end.
 *
 * Among the rules that match at a position the longest match wins (what stands behind the slash included),
 * among equal lengths the earlier rule: the convention of lex and its descendants.
 *
 * Patterns are UTF-8 over UTF-16 code units, because that is the alphabet of the tokenizer that ptb.h
 * reproduces: ab  a|b  (a)  a* a+ a? a{2} a{2,4}     as everywhere; a letter stands for both of its cases
 *   [a-z_] [^a-z]                          sets, which are exact about case; no escapes but the ones below
 *   {NAME}                                 a macro of the table, as a group
 *   %l %d %u                               a letter, a decimal digit, an upper case letter (also inside of
 * sets) %xHHHH                                 the code unit HHHH (also inside of sets)
 *   %( %. ...                              that character itself */
#ifndef OC_EVAL_PTB_LEXER_H
#define OC_EVAL_PTB_LEXER_H

#include "base/base.h"

typedef struct oc_lex_macro {
    const char *name, *pattern;
} oc_lex_macro;

typedef struct oc_lex_rule {
    const char *pattern;
    const char *tail; /* must follow for the rule to match, stays in the text; NULL: nothing */
    uint8_t action;   /* of the caller */
    uint8_t keep;     /* of the match only the first `keep` code units are taken; 0: all */
} oc_lex_rule;

typedef struct oc_lexer oc_lexer;

/* The tables must outlive the lexer. A lexer belongs to one thread at a time, since matching adds states to
 * it. */
oc_status oc_lexer_open(oc_lexer **out, const oc_lex_macro *macros, size_t n_macros, const oc_lex_rule *rules,
                        size_t n_rules, oc_error *err);
void oc_lexer_close(oc_lexer *lx);

/* Matches at the start of text[n]: *rule and *len (code units to take, at least 1), or *rule = -1 when no
 * rule matches. */
oc_status oc_lexer_match(oc_lexer *lx, const uint16_t *text, size_t n, int *rule, size_t *len, oc_error *err);

size_t oc_lexer_states(const oc_lexer *lx); /* made so far */

#endif
