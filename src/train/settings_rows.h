/* Short forms of the rows of a table of settings (train/settings.h): structure, key, member, then what the kind takes.
 * Included by the files that hold such tables, not by headers. */
#ifndef OC_TRAIN_SETTINGS_ROWS_H
#define OC_TRAIN_SETTINGS_ROWS_H

#include "train/settings.h"

#define BOOL(T, key_, member, init_, help_)                                                                            \
    { .key = key_, .kind = SET_BOOL, .offset = offsetof(T, member), .init = init_, .help = help_ }
#define INT(T, key_, member, range, init_, help_)                                                                      \
    { .key = key_, .kind = SET_INT, .offset = offsetof(T, member), .spec = range, .init = init_, .help = help_ }
#define NEED_INT(T, key_, member, range, help_)                                                                        \
    { .key = key_, .kind = SET_INT | SET_REQUIRED, .offset = offsetof(T, member), .spec = range, .help = help_ }
#define NUM(T, key_, member, range, init_, help_)                                                                      \
    { .key = key_, .kind = SET_DOUBLE, .offset = offsetof(T, member), .spec = range, .init = init_, .help = help_ }
#define WORD(T, key_, member, words, init_, help_)                                                                     \
    { .key = key_, .kind = SET_ENUM, .offset = offsetof(T, member), .spec = words, .init = init_, .help = help_ }
#define TEXT(T, key_, member, init_, help_)                                                                            \
    { .key = key_, .kind = SET_STRING, .offset = offsetof(T, member), .init = init_, .help = help_ }
#define PATH(T, key_, member, help_)                                                                                   \
    { .key = key_, .kind = SET_PATH, .offset = offsetof(T, member), .help = help_ }
#define GROUP(T, key_, member, table, help_)                                                                           \
    { .key = key_, .kind = SET_GROUP, .offset = offsetof(T, member), .fields = table, .help = help_ }
#define INLINE(T, member, table)                                                                                       \
    { .kind = SET_INLINE, .offset = offsetof(T, member), .fields = table }
#define LIST(T, key_, member, table, type, help_)                                                                      \
    {                                                                                                                  \
        .key = key_, .kind = SET_LIST, .offset = offsetof(T, member), .fields = table, .size = sizeof(type),           \
        .help = help_                                                                                                  \
    }
#define NEED_TEXT(T, key_, member, help_)                                                                              \
    { .key = key_, .kind = SET_STRING | SET_REQUIRED, .offset = offsetof(T, member), .help = help_ }
#define NEED_PATH(T, key_, member, help_)                                                                              \
    { .key = key_, .kind = SET_PATH | SET_REQUIRED, .offset = offsetof(T, member), .help = help_ }
#define PAIRS(T, key_, member, help_)                                                                                  \
    { .key = key_, .kind = SET_PAIRS, .offset = offsetof(T, member), .help = help_ }

#endif
