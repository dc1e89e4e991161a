/* Words and numbers as people write them, for the command line and for recipes. */
#ifndef OC_BASE_TEXT_H
#define OC_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A range is written "LO..HI", with both ends included; either end may be left out, NULL is any number. */
bool oc_parse_int(const char *text, const char *range, int *out);       /* decimal, nothing before or after */
bool oc_parse_double(const char *text, const char *range, double *out); /* finite, nothing before or after */

/* "1500", "1.5 GiB", "8G", "512 MB": K, M, G, T count 1024 each, however they are spelled. At most 2^60. */
bool oc_parse_bytes(const char *text, size_t *out);

/* The position of word in a list "first|second|third", or -1. And the word at a position: a pointer into the list, its
 * length in *len. */
int oc_word_index(const char *list, const char *word);
const char *oc_word_at(const char *list, int index, int *len);

/* The candidate that a mistyped word most likely meant, or NULL when none is near. names[n]. */
const char *oc_nearest(const char *word, const char *const *names, int n);

#endif
