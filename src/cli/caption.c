/* ocellus caption: a sentence for each picture; ocellus ask: an answer to a question about one. */
#include "base/log.h"
#include "cli/session.h"

static struct {
    const char *prompt;
    int batch;
    bool json;
    oc_model_settings model;
    oc_prompt_settings prompting;
    oc_decoding_settings decoding;
} opt = {.batch = 8, .decoding = OC_DECODING_DEFAULTS};

/* What a model says may hold anything: control characters are not for the terminal, and line ends not inside a line. */
static void print_text(const char *text, bool one_line) {
    for (; *text; text++) {
        bool control = (unsigned char)*text < ' ' && (one_line || *text != '\n');
        putchar(control ? ' ' : *text);
    }
    putchar('\n');
}

/* The line for one picture. Several pictures are told apart by name. */
static oc_status print_answer(const oc_session *s, const char *image, const char *key, const oc_generation *g,
                              bool named, oc_error *err) {
    oc_strbuf text = {0};
    oc_prompt_answer_text(g, s->tokenizer, &text);
    const char *answer = text.data ? text.data : "";
    oc_status st = text.failed ? oc_fail(err, OC_ERR_NOMEM, "out of memory for the answer") : OC_OK;
    if (st == OC_OK && opt.json)
        st = oc_print_json(json_pack("{s:s, s:s, s:i, s:b, s:f}", "image", image, key, answer, "tokens", g->n,
                                     "finished", (int)g->finished, "logprob", g->score),
                           err);
    else if (st == OC_OK) {
        if (named) printf("%s\t", image);
        print_text(answer, named);
    }
    oc_strbuf_free(&text);
    fflush(stdout);
    return st;
}

/* What is said about a run at its end. */
typedef struct tally {
    int unreadable, cut;
} tally;

/* Says which picture could not be read, on stderr and, for programs, in its line of the output. */
static oc_status print_unreadable(const char *image, const oc_error *why, oc_error *err) {
    oc_log(OC_LOG_ERROR, "%s", why->msg);
    if (!opt.json) return OC_OK;
    return oc_print_json(json_pack("{s:s, s:s}", "image", image, "error", why->msg), err);
}

/* Asks about n pictures at once. Of several, named ones the unreadable do not keep the others from being asked about. */
static oc_status answer(oc_session *s, const oc_generate_options *go, const char *question, const char *key,
                        char *const *image, int n, bool named, tally *sum, oc_error *err) {
    oc_batch b = {0};
    oc_generation *g = oc_calloc((size_t)n, sizeof *g);
    oc_error *why = oc_calloc((size_t)n, sizeof *why);
    oc_status st = g && why ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for the answers");
    if (st == OC_OK) st = oc_session_ask(s, &b, question, image, n, named ? why : NULL, err);
    if (st == OC_OK) st = oc_generate(&s->model, &b, go, 1, g, err);
    for (int i = 0; st == OC_OK && i < n; i++) {
        const bool unreadable = why[i].code != OC_OK;
        st = unreadable ? print_unreadable(image[i], &why[i], err) : print_answer(s, image[i], key, &g[i], named, err);
        sum->unreadable += unreadable;
        sum->cut += !unreadable && !g[i].finished;
    }
    for (int i = 0; g && i < n; i++) oc_generation_free(&g[i]);
    oc_batch_close(&b);
    oc_free(why);
    oc_free(g);
    return st;
}

static int run(const char *dir, const char *question, const char *key, char *const *image, int n, oc_error *err) {
    oc_generate_options go;
    oc_session s;
    tally sum = {0};
    int usage = oc_decoding_options(&go, &opt.decoding, err);
    if (usage) return usage;
    oc_status st = oc_session_open(&s, dir, &opt.model, true, err);
    if (st != OC_OK) return (int)st;
    OC_GO(oc_session_needs_vlm(&s, dir, err));
    OC_GO(oc_session_set_prompt(&s, dir, &opt.prompting, err));
    if (key[0] == 'a' && s.model.cfg.template == OC_TEMPLATE_PLAIN)
        st = oc_fail(
            err, OC_ERR_ARG,
            "%s was trained to caption (template plain) and sees no question; --template chat asks all the same", dir);
    OC_GO(st);
    oc_prompt_set_eos(&go, &s.model.cfg, s.tokenizer);
    if (!question) question = oc_config_caption_prompt(&s.model.cfg);
    for (int i = 0; i < n; i += opt.batch)
        OC_GO(answer(&s, &go, question, key, image + i, OC_MIN(opt.batch, n - i), n > 1, &sum, err));
    if (sum.cut > 0)
        oc_log(OC_LOG_INFO, "%d of %d answers were cut off after %d tokens; --max-new-tokens allows more", sum.cut, n,
               opt.decoding.max_new_tokens);
    if (sum.unreadable > 0)
        st = oc_fail(err, OC_ERR_IO, "%d of %d pictures could not be read (each is named above)", sum.unreadable, n);
done:
    oc_session_close(&s);
    return (int)st;
}

static int run_caption(int n, char **args, oc_error *err) {
    return run(args[0], opt.prompt, "caption", args + 1, n - 1, err);
}

static int run_ask(int n, char **args, oc_error *err) {
    OC_UNUSED(n);
    return run(args[0], args[2], "answer", args + 1, 1, err);
}

static const oc_option caption_options[] = {
    {"--prompt", OPT_STRING, &opt.prompt, "TEXT",
     "what is asked of models with the chat template; default: what training asked for captions with, where the model's "
     "folder says so, else \"" OC_CAPTION_PROMPT "\""},
    {"--batch", OPT_INT, &opt.batch, "1..1024", "pictures at once"},
    {"--json", OPT_FLAG, &opt.json, NULL, "print a JSON object a line"},
    OC_PROMPT_OPTIONS(opt.prompting),
    OC_DECODING_OPTIONS(opt.decoding),
    OC_MODEL_OPTIONS(opt.model),
    {0}};

static const oc_option ask_options[] = {{"--json", OPT_FLAG, &opt.json, NULL, "print a JSON object"},
                                        OC_PROMPT_OPTIONS(opt.prompting),
                                        OC_DECODING_OPTIONS(opt.decoding),
                                        OC_MODEL_OPTIONS(opt.model),
                                        {0}};

const oc_command oc_command_caption = {
    .name = "caption",
    .summary = "Describe pictures",
    .positional = "MODEL IMAGE...",
    .min_args = 2,
    .max_args = -1,
    .details =
        "Prints a line for each picture, after its name and a tab where there are several. Of several pictures, those that\n"
        "cannot be read are named on stderr and the others described; the exit status is then 1.\n\n"
        "  ocellus caption runs/flickr8k/model dog.jpg\n"
        "  ocellus caption runs/flickr8k/model photos/*.jpg --beams 3 --json",
    .options = caption_options,
    .run = run_caption,
};

const oc_command oc_command_ask = {
    .name = "ask",
    .summary = "Answer a question about a picture",
    .positional = "MODEL IMAGE QUESTION",
    .min_args = 3,
    .max_args = 3,
    .details = "  ocellus ask runs/vqa/model scan.jpg \"Is the liver visible?\"",
    .options = ask_options,
    .run = run_ask,
};
