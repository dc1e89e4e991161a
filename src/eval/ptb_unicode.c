#include "eval/ptb_unicode.h"

#include <utf8proc.h>

#include "base/base.h"

typedef struct {
    unsigned short lo, hi;
} range;

/* Basic plane letters that Unicode did not have (or did not call letters) before 6.2. */
static const range newer[] = {
    {0x37f, 0x37f},   {0x528, 0x52f},   {0x560, 0x560},   {0x588, 0x588},   {0x5ef, 0x5ef},   {0x860, 0x887},
    {0x889, 0x88f},   {0x8a1, 0x8a1},   {0x8ad, 0x8c9},   {0x978, 0x978},   {0x980, 0x980},   {0x9fc, 0x9fc},
    {0xaf9, 0xaf9},   {0xc34, 0xc34},   {0xc5a, 0xc5d},   {0xc80, 0xc80},   {0xcdc, 0xcdd},   {0xd04, 0xd04},
    {0xd54, 0xd56},   {0xd5f, 0xd5f},   {0xe86, 0xe86},   {0xe89, 0xe89},   {0xe8c, 0xe8c},   {0xe8e, 0xe93},
    {0xe98, 0xe98},   {0xea0, 0xea0},   {0xea8, 0xea9},   {0xeac, 0xeac},   {0x13f5, 0x13f5}, {0x13f8, 0x13fd},
    {0x16f1, 0x16f8}, {0x170d, 0x170d}, {0x171f, 0x171f}, {0x1878, 0x1878}, {0x191d, 0x191e}, {0x19b0, 0x19c0},
    {0x19c8, 0x19c9}, {0x1b4c, 0x1b4c}, {0x1c80, 0x1c8a}, {0x1c90, 0x1cbf}, {0x1cf2, 0x1cf3}, {0x1cfa, 0x1cfa},
    {0x2c2f, 0x2c2f}, {0x2c5f, 0x2c5f}, {0x312e, 0x312f}, {0x31bb, 0x31bf}, {0x4db6, 0x4dbf}, {0x9fcd, 0x9fff},
    {0xa698, 0xa69d}, {0xa78f, 0xa78f}, {0xa794, 0xa79f}, {0xa7ab, 0xa7f7}, {0xa8fd, 0xa8fe}, {0xa9e0, 0xa9e4},
    {0xa9e6, 0xa9ef}, {0xa9fa, 0xa9fe}, {0xaa7e, 0xaa7f}, {0xab30, 0xab69}, {0xab70, 0xabbf},
};

static bool in_newer(unsigned c) {
    size_t lo = 0, hi = OC_COUNT(newer);
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (c > newer[mid].hi)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < OC_COUNT(newer) && c >= newer[lo].lo;
}

static unsigned ascii_properties(unsigned c) {
    if (c >= 'A' && c <= 'Z') return OC_PTB_LETTER | OC_PTB_UPPER;
    if (c >= 'a' && c <= 'z') return OC_PTB_LETTER;
    return c >= '0' && c <= '9' ? OC_PTB_DIGIT : 0;
}

unsigned oc_ptb_properties(unsigned c) {
    if (c < 128) return ascii_properties(c);
    if (c == 0x1885 || c == 0x1886) return OC_PTB_LETTER; /* became marks in Unicode 9 */
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
        return in_newer(c) ? 0 : OC_PTB_LETTER | OC_PTB_UPPER;
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return in_newer(c) ? 0 : OC_PTB_LETTER;
    case UTF8PROC_CATEGORY_ND: /* Unicode 7 has more */
        return (c >= 0xde6 && c <= 0xdef) || (c >= 0xa9f0 && c <= 0xa9f9) ? 0 : OC_PTB_DIGIT;
    default:
        return 0;
    }
}
