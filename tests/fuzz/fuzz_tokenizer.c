/* Bytes that begin with '{' as a tokenizer.json: rejected, or a tokenizer that encodes and decodes. Any other bytes
 * as a text (and as token ids) through a fixed tokenizer, whose laws must hold. */
#include <string.h>

#include "data/bpe_train.h"
#include "data/tokenizer.h"
#include "data/tokenizer_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const sample[] = {
    "A man's riding a wave; the man isn't riding the wave.",
    "caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd \xe4\xbd\xa0\xe5\xa5\xbd 2024\n\n  the end",
    "aaaa aaaa aaaa abababab abababab\r\n\t..."};

static void same(const oc_strbuf *a, const char *b, size_t n) {
    OC_ASSERT(!a->failed && a->len == n && (n == 0 || !memcmp(a->data, b, n)));
}

static oc_strbuf decode(const oc_tokenizer *t, const oc_ids *ids) {
    oc_strbuf whole = {0}, stream = {0};
    oc_decode_stream s = {0};
    oc_tokenizer_decode(t, ids->data, ids->len, false, &whole);
    for (size_t i = 0; i < ids->len; i++) oc_decode_stream_next(&s, t, ids->data[i], false, &stream);
    oc_decode_stream_finish(&s, &stream);
    same(&whole, stream.data, stream.len);
    OC_ASSERT(oc_text_look(whole.data ? whole.data : "", whole.len).valid);
    oc_strbuf_free(&stream);
    return whole;
}

static void use_tokenizer(const oc_tokenizer *t) {
    oc_ids ids = {0};
    oc_error err;
    for (size_t i = 0; i < OC_COUNT(sample); i++)
        if (oc_tokenizer_encode(t, sample[i], strlen(sample[i]), NULL, &ids, &err) != OC_OK)
            OC_ASSERT(err.code == OC_ERR_UNSUPPORTED);
    for (size_t i = 0; i < ids.len; i++) OC_ASSERT(ids.data[i] >= 0 && ids.data[i] < oc_tokenizer_vocab_size(t));
    oc_strbuf text = decode(t, &ids);
    oc_strbuf_free(&text);
    oc_ids_free(&ids);
}

static bool join(void *user, const char *word, size_t len) {
    OC_ASSERT(len > 0);
    oc_strbuf_add(user, word, len);
    return true;
}

/* Repaired and normalized, a text is what its words and its ids give back. */
static void use_text(const oc_tokenizer *t, const char *bytes, size_t size) {
    oc_strbuf repaired = {0}, buf = {0}, words = {0}, again = {0};
    oc_ids ids = {0};
    oc_error err;
    OC_ASSERT(oc_utf8_repair((const uint8_t *)bytes, size, true, &repaired) == size && !repaired.failed);
    const char *normal = repaired.data ? repaired.data : "", *twice;
    size_t len = repaired.len, twice_len;
    OC_ASSERT(oc_text_nfc(&normal, &len, &buf));
    twice = normal;
    twice_len = len;
    OC_ASSERT(oc_text_nfc(&twice, &twice_len, &again) && twice_len == len && !memcmp(twice, normal, len));
    OC_ASSERT(oc_tokenizer_encode(t, bytes, size, &(oc_encode_options){.no_special = true}, &ids, &err) == OC_OK);
    oc_strbuf text = decode(t, &ids);
    same(&text, normal, len);
    OC_ASSERT(oc_tokenizer_split(t, bytes, size, join, &words, &err) == OC_OK);
    same(&words, normal, len);
    for (size_t i = 0; i < ids.len; i++) OC_ASSERT(!oc_tokenizer_is_special(t, ids.data[i]));
    ids.len = 0;
    OC_ASSERT(oc_tokenizer_encode(t, bytes, size, NULL, &ids, &err) == OC_OK);
    ids.len = 0;
    for (size_t i = 0; i + 1 < size; i += 2)
        oc_ids_add(&ids, (int32_t)((uint8_t)bytes[i] | (uint8_t)bytes[i + 1] << 8) % 400);
    oc_strbuf_free(&text);
    text = decode(t, &ids);
    oc_strbuf_free(&text);
    oc_strbuf_free(&repaired);
    oc_strbuf_free(&buf);
    oc_strbuf_free(&words);
    oc_strbuf_free(&again);
    oc_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static oc_tokenizer *fixed;
    oc_error err;
    if (!fixed)
        OC_ASSERT(oc_bpe_train_strings(&fixed, &(oc_bpe_train_options){.vocab_size = 300}, sample, OC_COUNT(sample),
                                       &err) == OC_OK);
    if (size == 0 || data[0] != '{') {
        use_text(fixed, (const char *)data, size);
        return 0;
    }
    oc_tokenizer *t;
    if (oc_tokenizer_open_memory(&t, (const char *)data, size, "fuzz", &err) == OC_OK) use_tokenizer(t);
    oc_tokenizer_close(t);
    return 0;
}
