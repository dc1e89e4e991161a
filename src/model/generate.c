/* 1. state of one call  2. choosing tokens  3. greedy and sampling  4. beam search  5. the public call */
#define _GNU_SOURCE /* qsort_r */
#include "model/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- 1. State ------------------------------------------------------------------------------------------------------ */

/* An unfinished hypothesis, or one kept as finished. */
typedef struct hypothesis {
    double score; /* running: sum of log probabilities; finished: normalised */
    int n;
    int32_t *token;
    float *logprob;
} hypothesis;

typedef struct candidate {
    double score;
    int beam;
    int32_t token;
    float logprob;
} candidate;

typedef struct session {
    oc_vlm *m;
    const oc_batch *prompts;
    oc_generate_options o;
    int nb, slots_per_seq, V, max_new;
    oc_kv_cache kv;
    float *logits;                                /* [rows, V] */
    int32_t *token, *position, *slot, *row_owner; /* of the rows of one decoding step */
    int32_t *looked;                              /* tokens of each sequence whose attention has been recorded */
    float *attention, *attention_scratch;
    int attention_ld;
    float *sorted; /* [V] values and [V] indices for top-k / top-p */
    int32_t *order;
} session;

static int prompt_length(const oc_batch *b, int s) { return b->seq_start[s + 1] - b->seq_start[s]; }

static oc_status session_open(session *s, oc_vlm *m, const oc_batch *prompts, const oc_generate_options *opt,
                              oc_error *err) {
    memset(s, 0, sizeof *s);
    s->m = m;
    s->prompts = prompts;
    s->o = *opt;
    s->nb = OC_MAX(1, opt->beams);
    s->slots_per_seq = s->nb > 1 ? 2 * s->nb : 1; /* beams move between two banks */
    s->V = m->cfg.text.vocab;
    s->max_new = opt->max_new_tokens > 0 ? opt->max_new_tokens : 64;
    int longest = 0;
    for (int k = 0; k < prompts->n_seq; k++) longest = OC_MAX(longest, prompt_length(prompts, k));
    int max_len = longest + s->max_new;
    if (max_len > m->decoder.max_rope)
        return oc_fail(err, OC_ERR_ARG, "a prompt of %d tokens and %d new ones exceed the model's %d positions",
                       longest, s->max_new, m->decoder.max_rope);
    size_t rows = (size_t)prompts->n_seq * (size_t)s->nb, V = (size_t)s->V;
    oc_status st = OC_OK;
    OC_GO(oc_kv_cache_open(&s->kv, m->compute, &m->cfg.text, prompts->n_seq * s->slots_per_seq, max_len, m->t, err));
    OC_GO(oc_alloc_for(&s->logits, rows * V * sizeof(float), "logits", err));
    int32_t **ints[] = {&s->token, &s->position, &s->slot, &s->row_owner, &s->looked};
    for (size_t i = 0; i < OC_COUNT(ints); i++)
        OC_GO(oc_alloc_for(ints[i], OC_MAX(rows, (size_t)prompts->N) * sizeof(int32_t), "generation", err));
    OC_GO(oc_alloc_for(&s->sorted, V * sizeof(float), "sampling", err));
    OC_GO(oc_alloc_for(&s->order, V * sizeof(int32_t), "sampling", err));
    if (opt->want_attention) {
        s->attention_ld = max_len;
        OC_GO(oc_alloc_for(&s->attention, rows * (size_t)max_len * sizeof(float), "attention maps", err));
        OC_GO(oc_alloc_for(&s->attention_scratch, (size_t)max_len * sizeof(float), "attention maps", err));
    }
    OC_GO(oc_vlm_reserve(m, OC_MAX(prompts->N, (int)rows), prompts->n_images, prompts->n_blocks,
                         OC_MAX(prompts->N, (int)rows), false, err));
done:
    return st;
}

static void session_close(session *s) {
    oc_kv_cache_close(&s->kv);
    void *all[] = {s->logits, s->token,  s->position, s->slot,      s->row_owner,
                   s->looked, s->sorted, s->order,    s->attention, s->attention_scratch};
    for (size_t i = 0; i < OC_COUNT(all); i++) oc_free(all[i]);
}

/* Runs the prompts; logits row k is what follows sequence k. */
static void prefill(session *s) {
    const oc_batch *b = s->prompts;
    for (int k = 0; k < b->n_seq; k++)
        for (int i = b->seq_start[k]; i < b->seq_start[k + 1]; i++) s->slot[i] = k * s->slots_per_seq;
    void *x = oc_vlm_forward(s->m, b, &s->kv, s->slot);
    for (int k = 0; k < b->n_seq; k++) s->position[k] = b->seq_start[k + 1] - 1;
    oc_vlm_logits(s->m, s->logits, x, s->position, b->n_seq);
}

static bool is_eos(const session *s, int32_t token) {
    for (int i = 0; i < s->o.n_eos; i++)
        if (token == s->o.eos[i]) return true;
    return false;
}

/* ---- 2. Choosing tokens -------------------------------------------------------------------------------------------- */

/* logsumexp of a row of logits, in double. */
static double log_sum_exp(const float *x, int n) {
    float best = x[0];
    for (int i = 1; i < n; i++) best = x[i] > best ? x[i] : best;
    double sum = 0;
    for (int i = 0; i < n; i++) sum += exp((double)(x[i] - best));
    return (double)best + log(sum);
}

static int32_t argmax(const float *x, int n) {
    int32_t best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static int by_probability(const void *a, const void *b, void *probability) {
    const float *p = probability;
    float x = p[*(const int32_t *)a], y = p[*(const int32_t *)b];
    if (x != y) return x < y ? 1 : -1;
    return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

/* Draws from softmax(logits / temperature), cut to the top_k most probable and to the smallest set that holds top_p. */
static int32_t sample(session *s, const float *logits, oc_rng *rng) {
    const int V = s->V;
    const float inv_t = (float)(1.0 / s->o.temperature);
    float best = logits[argmax(logits, V)];
    for (int i = 0; i < V; i++) {
        s->sorted[i] = expf((logits[i] - best) * inv_t);
        s->order[i] = i;
    }
    qsort_r(s->order, (size_t)V, sizeof *s->order, by_probability, s->sorted);
    double total = 0, kept = 0;
    for (int i = 0; i < V; i++) total += (double)s->sorted[i];
    int n = s->o.top_k > 0 ? OC_MIN(s->o.top_k, V) : V;
    double limit = s->o.top_p > 0 && s->o.top_p < 1 ? s->o.top_p * total : INFINITY;
    int last = 0;
    for (; last < n && kept < limit; last++) kept += (double)s->sorted[s->order[last]];
    double u = oc_rng_uniform(rng) * kept;
    for (int i = 0; i < last; i++) {
        u -= (double)s->sorted[s->order[i]];
        if (u < 0) return s->order[i];
    }
    return s->order[OC_MAX(last, 1) - 1]; /* also when the logits are not numbers */
}

/* ---- 3. Greedy and sampling ---------------------------------------------------------------------------------------- */

static oc_status alloc_generation(oc_generation *g, int n, int prompt, bool attention, oc_error *err) {
    memset(g, 0, sizeof *g);
    OC_TRY(oc_alloc_for(&g->token, (size_t)n * sizeof *g->token, "generated tokens", err));
    OC_TRY(oc_alloc_for(&g->logprob, (size_t)n * sizeof *g->logprob, "generated tokens", err));
    if (attention)
        OC_TRY(oc_alloc_for(&g->attention, (size_t)n * (size_t)prompt * sizeof(float), "attention maps", err));
    return OC_OK;
}

static void append_token(session *s, oc_generation *g, const float *logits, oc_rng *rng) {
    int32_t t = s->o.temperature > 0 ? sample(s, logits, rng) : argmax(logits, s->V);
    g->token[g->n] = t;
    g->logprob[g->n] = (float)((double)logits[t] - log_sum_exp(logits, s->V));
    g->score += (double)g->logprob[g->n++];
    g->finished = is_eos(s, t);
}

/* Where the newest token of a sequence looked in the prompt. */
static void keep_attention(session *s, oc_generation *g, int seq, int row) {
    int P = prompt_length(s->prompts, seq);
    memcpy(g->attention + (size_t)s->looked[seq]++ * (size_t)P, s->attention + (size_t)row * (size_t)s->attention_ld,
           (size_t)P * sizeof(float));
}

static oc_status generate_simple(session *s, oc_generation *out, oc_error *err) {
    const int n_seq = s->prompts->n_seq;
    const bool want = s->attention != NULL;
    for (int k = 0; k < n_seq; k++)
        OC_TRY(alloc_generation(&out[k], s->max_new, prompt_length(s->prompts, k), want, err));
    oc_rng *rng;
    OC_TRY(oc_alloc_for(&rng, (size_t)n_seq * sizeof *rng, "sampling", err));
    for (int k = 0; k < n_seq; k++) {
        rng[k] = oc_rng_at(s->o.seed, 0x67656e, (uint64_t)k);
        append_token(s, &out[k], s->logits + (size_t)k * (size_t)s->V, &rng[k]);
    }
    memset(s->looked, 0, (size_t)n_seq * sizeof *s->looked);
    for (;;) {
        int rows = 0;
        for (int k = 0; k < n_seq; k++) {
            oc_generation *g = &out[k];
            bool ended = g->finished || g->n == s->max_new;
            if (ended && !(want && s->looked[k] < g->n))
                continue; /* to see where the last token looks takes one more pass */
            s->token[rows] = g->token[g->n - 1];
            s->position[rows] = prompt_length(s->prompts, k) + g->n - 1;
            s->slot[rows] = k;
            s->row_owner[rows++] = k;
        }
        if (rows == 0) break;
        if (want) memset(s->attention, 0, (size_t)rows * (size_t)s->attention_ld * sizeof(float));
        oc_vlm_decode_attention(s->m, s->logits, s->token, s->position, s->slot, rows, &s->kv, s->attention,
                                s->attention_ld, s->attention_scratch);
        for (int r = 0; r < rows; r++) {
            int k = s->row_owner[r];
            if (want) keep_attention(s, &out[k], k, r);
            if (!out[k].finished && out[k].n < s->max_new)
                append_token(s, &out[k], s->logits + (size_t)r * (size_t)s->V, &rng[k]);
        }
    }
    oc_free(rng);
    return OC_OK;
}

/* ---- 4. Beam search, as transformers 5 does it --------------------------------------------------------------------- *
 * Each step keeps the best max(2, 1 + n_eos) * beams candidates by summed log probability. A candidate that ends (eos or
 * the limit) becomes a finished hypothesis only if it ranks among the first `beams`; its score is sum / n^length_penalty,
 * and the best `beams` finished ones stay. The best `beams` unfinished candidates go on. A sequence stops when it has
 * `beams` finished hypotheses and the best running one, normalised at its present length, is no better than the worst. */

typedef struct beam_state {
    hypothesis *run, *next, *done; /* [nb] each */
    int n_run, n_done, bank;
    bool stopped;
} beam_state;

static oc_status alloc_hypotheses(hypothesis **h, int nb, int max_new, oc_error *err) {
    *h = oc_calloc((size_t)nb, sizeof **h);
    if (!*h) return oc_fail(err, OC_ERR_NOMEM, "out of memory for beam search");
    for (int i = 0; i < nb; i++) {
        OC_TRY(oc_alloc_for(&(*h)[i].token, (size_t)max_new * sizeof(int32_t), "beam search", err));
        OC_TRY(oc_alloc_for(&(*h)[i].logprob, (size_t)max_new * sizeof(float), "beam search", err));
    }
    return OC_OK;
}

static void free_hypotheses(hypothesis *h, int nb) {
    for (int i = 0; h && i < nb; i++) {
        oc_free(h[i].token);
        oc_free(h[i].logprob);
    }
    oc_free(h);
}

/* Puts c into the sorted list of the best `limit`. */
static int insert_candidate(candidate *list, int n, int limit, candidate c) {
    if (n == limit && c.score <= list[n - 1].score) return n;
    int i = n < limit ? n : limit - 1;
    for (; i > 0 && list[i - 1].score < c.score; i--) list[i] = list[i - 1];
    list[i] = c;
    return n < limit ? n + 1 : n;
}

static int collect_candidates(const session *s, const beam_state *b, const float *logits, candidate *list, int limit) {
    int n = 0;
    for (int k = 0; k < b->n_run; k++) {
        const float *row = logits + (size_t)k * (size_t)s->V;
        double lse = log_sum_exp(row, s->V);
        for (int t = 0; t < s->V; t++) {
            double lp = (double)row[t] - lse, score = b->run[k].score + lp;
            if (n == limit && score <= list[n - 1].score) continue;
            n = insert_candidate(list, n, limit, (candidate){score, k, t, (float)lp});
        }
    }
    return n;
}

static void extend(hypothesis *to, const hypothesis *from, const candidate *c) {
    memcpy(to->token, from->token, (size_t)from->n * sizeof *to->token);
    memcpy(to->logprob, from->logprob, (size_t)from->n * sizeof *to->logprob);
    to->n = from->n;
    to->token[to->n] = c->token;
    to->logprob[to->n++] = c->logprob;
    to->score = c->score;
}

static void add_finished(beam_state *b, int nb, const hypothesis *from, const candidate *c, double score) {
    if (b->n_done == nb && score <= b->done[nb - 1].score) return;
    if (b->n_done < nb) b->n_done++;
    hypothesis spare = b->done[b->n_done - 1];
    int i = b->n_done - 1;
    for (; i > 0 && b->done[i - 1].score < score; i--) b->done[i] = b->done[i - 1];
    extend(&spare, from, c);
    spare.score = score;
    b->done[i] = spare;
}

/* One step of one sequence. parent[j]: which running beam the j-th new one continues. */
static void beam_step(session *s, beam_state *b, const float *logits, candidate *list, int *parent) {
    const int nb = s->nb, limit = OC_MAX(2, 1 + s->o.n_eos) * nb, length = b->run[0].n + 1;
    const double norm = pow(length, s->o.length_penalty);
    int n = collect_candidates(s, b, logits, list, limit), going_on = 0;
    for (int i = 0; i < n; i++) {
        bool ends = is_eos(s, list[i].token) || length == s->max_new;
        const hypothesis *from = &b->run[list[i].beam];
        if (ends && i < nb) add_finished(b, nb, from, &list[i], list[i].score / norm);
        if (ends || going_on == nb) continue;
        parent[going_on] = list[i].beam;
        extend(&b->next[going_on++], from, &list[i]);
    }
    hypothesis *t = b->run;
    b->run = b->next;
    b->next = t;
    b->n_run = going_on;
    b->stopped = going_on == 0 || (b->n_done == nb && b->run[0].score / norm <= b->done[nb - 1].score);
}

/* Moves the cached tails so that running beam j finds its parent's keys in its own slot. */
static void move_caches(session *s, beam_state *b, int seq, const int *parent, int from, int to) {
    bool same = true;
    for (int j = 0; j < b->n_run; j++) same &= parent[j] == j;
    if (same) return;
    int base = seq * s->slots_per_seq, here = base + b->bank * s->nb, there = base + (1 - b->bank) * s->nb;
    for (int j = 0; j < b->n_run; j++) oc_kv_copy(&s->kv, there + j, here + parent[j], from, to);
    b->bank = 1 - b->bank;
}

static void beam_start(session *s, beam_state *b, int seq, candidate *list, int *parent) {
    int base = seq * s->slots_per_seq, P = prompt_length(s->prompts, seq);
    b->n_run = 1;
    b->run[0].n = 0;
    b->run[0].score = 0;
    beam_step(s, b, s->logits + (size_t)seq * (size_t)s->V, list, parent);
    for (int j = 1; j < s->slots_per_seq; j++)
        oc_kv_copy(&s->kv, base + j, base, 0, P); /* every slot holds the prompt */
}

static void beam_loop(session *s, beam_state *state, candidate *list, int *parent) {
    const int n_seq = s->prompts->n_seq;
    for (int k = 0; k < n_seq; k++) beam_start(s, &state[k], k, list, parent);
    for (;;) {
        int rows = 0;
        for (int k = 0; k < n_seq; k++) {
            beam_state *b = &state[k];
            for (int j = 0; !b->stopped && j < b->n_run; j++, rows++) {
                s->token[rows] = b->run[j].token[b->run[j].n - 1];
                s->position[rows] = prompt_length(s->prompts, k) + b->run[j].n - 1;
                s->slot[rows] = k * s->slots_per_seq + b->bank * s->nb + j;
            }
        }
        if (rows == 0) return;
        oc_vlm_decode(s->m, s->logits, s->token, s->position, s->slot, rows, &s->kv);
        for (int k = 0, at = 0; k < n_seq; k++) {
            beam_state *b = &state[k];
            if (b->stopped) continue;
            int used = b->n_run, P = prompt_length(s->prompts, k), len = P + b->run[0].n;
            beam_step(s, b, s->logits + (size_t)at * (size_t)s->V, list, parent);
            if (!b->stopped) move_caches(s, b, k, parent, P, len);
            at += used;
        }
    }
}

static oc_status beam_results(const session *s, const beam_state *b, int per_prompt, oc_generation *out,
                              oc_error *err) {
    for (int i = 0; i < per_prompt; i++) {
        const hypothesis *h = i < b->n_done ? &b->done[i] : &b->run[0];
        OC_TRY(alloc_generation(&out[i], s->max_new, 0, false, err));
        memcpy(out[i].token, h->token, (size_t)h->n * sizeof *h->token);
        memcpy(out[i].logprob, h->logprob, (size_t)h->n * sizeof *h->logprob);
        out[i].n = h->n;
        out[i].score = h->score;
        out[i].finished = h->n > 0 && is_eos(s, h->token[h->n - 1]);
    }
    return OC_OK;
}

static oc_status generate_beams(session *s, int per_prompt, oc_generation *out, oc_error *err) {
    const int n_seq = s->prompts->n_seq, limit = OC_MAX(2, 1 + s->o.n_eos) * s->nb;
    beam_state *state = oc_calloc((size_t)n_seq, sizeof *state);
    candidate *list = oc_calloc((size_t)limit, sizeof *list);
    int *parent = oc_calloc((size_t)s->nb, sizeof *parent);
    oc_status st = state && list && parent ? OC_OK : oc_fail(err, OC_ERR_NOMEM, "out of memory for beam search");
    for (int k = 0; st == OC_OK && k < n_seq; k++) {
        OC_GO(alloc_hypotheses(&state[k].run, s->nb, s->max_new, err));
        OC_GO(alloc_hypotheses(&state[k].next, s->nb, s->max_new, err));
        OC_GO(alloc_hypotheses(&state[k].done, s->nb, s->max_new, err));
    }
    if (st == OC_OK) beam_loop(s, state, list, parent);
    for (int k = 0; st == OC_OK && k < n_seq; k++)
        st = beam_results(s, &state[k], per_prompt, out + (size_t)k * (size_t)per_prompt, err);
done:
    for (int k = 0; state && k < n_seq; k++) {
        free_hypotheses(state[k].run, s->nb);
        free_hypotheses(state[k].next, s->nb);
        free_hypotheses(state[k].done, s->nb);
    }
    oc_free(state);
    oc_free(list);
    oc_free(parent);
    return st;
}

/* ---- 5. The public call -------------------------------------------------------------------------------------------- */

oc_status oc_generate(oc_vlm *m, const oc_batch *prompts, const oc_generate_options *opt, int per_prompt,
                      oc_generation *out, oc_error *err) {
    OC_ASSERT(per_prompt >= 1 && per_prompt <= OC_MAX(1, opt->beams));
    memset(out, 0, (size_t)prompts->n_seq * (size_t)per_prompt * sizeof *out);
    if (prompts->n_seq == 0) return OC_OK;
    session s;
    oc_status st = session_open(&s, m, prompts, opt, err);
    if (!opt->use_length_penalty) s.o.length_penalty = 1;
    if (st == OC_OK) {
        prefill(&s);
        st = s.nb > 1 ? generate_beams(&s, per_prompt, out, err) : generate_simple(&s, out, err);
    }
    session_close(&s);
    if (st != OC_OK)
        for (int i = 0; i < prompts->n_seq * per_prompt; i++) oc_generation_free(&out[i]);
    return st;
}

void oc_generation_free(oc_generation *g) {
    oc_free(g->token);
    oc_free(g->logprob);
    oc_free(g->attention);
    memset(g, 0, sizeof *g);
}
