/* Draws a scene: a texture over the whole image, then each object through its signed distance, which one pixel's
 * width of ramp turns into coverage (antialiasing without supersampling). */
#include <math.h>
#include <string.h>

#include "data/scene_internal.h"

static const float PI_F = 3.14159265f;

/* --- Outlines ------------------------------------------------------------------------------------------------------ */

static void add_corner(oc_outline *o, float x, float y) {
    OC_ASSERT(o->n < OC_OUTLINE_MAX);
    o->x[o->n] = x;
    o->y[o->n] = y;
    o->n++;
}

/* A polygon whose corners alternate between two radii, the first corner pointing up. */
static void add_rays(oc_outline *o, int corners, float even, float odd) {
    for (int i = 0; i < corners; i++) {
        float t = 2.0f * PI_F * (float)i / (float)corners, r = i % 2 ? odd : even;
        add_corner(o, r * sinf(t), -r * cosf(t));
    }
}

static void add_cross(oc_outline *o, float length, float width) {
    const float l = length, w = width;
    const float xy[12][2] = {{-w, -l}, {w, -l}, {w, -w}, {l, -w}, {l, w}, {w, w},
                             {w, l}, {-w, l}, {-w, w}, {-l, w}, {-l, -w}, {-w, -w}};
    for (int i = 0; i < 12; i++) add_corner(o, xy[i][0], xy[i][1]);
}

/* The heart curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, moved to its middle. */
static void add_heart(oc_outline *o) {
    for (int i = 0; i < 28; i++) {
        float t = 2.0f * PI_F * (float)i / 28.0f, sine = sinf(t);
        float y = 13.0f * cosf(t) - 5.0f * cosf(2.0f * t) - 2.0f * cosf(3.0f * t) - cosf(4.0f * t);
        add_corner(o, 16.0f * sine * sine * sine / 16.0f, -(y + 2.5f) / 14.8f);
    }
}

/* The factors give all shapes a similar visual weight at equal radius. */
void oc_outline_init(oc_outline *o, const oc_scene_object *object) {
    const float r = object->radius;
    memset(o, 0, sizeof *o);
    o->cx = object->x;
    o->cy = object->y;
    switch (object->shape) {
    case OC_SHAPE_CIRCLE: o->outer = 0.95f * r; return;
    case OC_SHAPE_RING: o->outer = r; o->inner = 0.52f * r; return;
    case OC_SHAPE_SQUARE:
        for (int i = 0; i < 4; i++) add_corner(o, i == 1 || i == 2 ? 0.8f : -0.8f, i < 2 ? -0.8f : 0.8f);
        break;
    case OC_SHAPE_TRIANGLE: add_rays(o, 3, 1.12f, 1.12f); break;
    case OC_SHAPE_STAR: add_rays(o, 10, 1.14f, 0.46f); break;
    case OC_SHAPE_CROSS: add_cross(o, 1.0f, 0.32f); break;
    case OC_SHAPE_HEART: add_heart(o); break;
    case OC_SHAPE_DIAMOND: add_rays(o, 4, 1.14f, 0.72f); break;
    case OC_SHAPE_COUNT: break;
    }
    OC_ASSERT(o->n >= 3);
    const float down = object->shape == OC_SHAPE_TRIANGLE ? 0.18f : 0.0f; /* its weight sits below its centre */
    const float cosine = cosf(object->angle), sine = sinf(object->angle);
    for (int i = 0; i < o->n; i++) {
        float x = o->x[i] * r, y = (o->y[i] + down) * r;
        o->x[i] = cosine * x - sine * y;
        o->y[i] = sine * x + cosine * y;
    }
}

/* To a polygon: the least distance to a side; inside if a ray to the right crosses an odd number of sides. */
static float polygon_distance(const oc_outline *o, float x, float y) {
    float best = 1e30f;
    bool inside = false;
    for (int i = 0, j = o->n - 1; i < o->n; j = i++) {
        float ex = o->x[j] - o->x[i], ey = o->y[j] - o->y[i], px = x - o->x[i], py = y - o->y[i];
        float t = (px * ex + py * ey) / (ex * ex + ey * ey);
        t = t < 0.0f ? 0.0f : t > 1.0f ? 1.0f : t;
        float dx = px - t * ex, dy = py - t * ey, d = dx * dx + dy * dy;
        if (d < best) best = d;
        if ((o->y[i] > y) != (o->y[j] > y) && px < ex * py / ey) inside = !inside;
    }
    best = sqrtf(best);
    return inside ? -best : best;
}

float oc_outline_distance(const oc_outline *o, float x, float y) {
    x -= o->cx;
    y -= o->cy;
    if (o->n) return polygon_distance(o, x, y);
    float d = sqrtf(x * x + y * y);
    float outside = d - o->outer;
    return o->inner > 0.0f && o->inner - d > outside ? o->inner - d : outside;
}

/* --- Background ---------------------------------------------------------------------------------------------------- */

static uint32_t hash2(uint32_t seed, int x, int y) {
    uint32_t h = seed ^ (uint32_t)x * 0x9e3779b1u ^ (uint32_t)y * 0x85ebca77u;
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h = (h ^ (h >> 12)) * 0x297a2d39u;
    return h ^ (h >> 15);
}

static float lattice(uint32_t seed, int x, int y) { return (float)(hash2(seed, x, y) >> 8) * (1.0f / 16777216.0f); }

/* Value noise: random numbers on a grid, blended smoothly between. */
static float smooth_noise(uint32_t seed, float x, float y) {
    int ix = (int)floorf(x), iy = (int)floorf(y);
    float fx = x - (float)ix, fy = y - (float)iy;
    fx = fx * fx * (3.0f - 2.0f * fx);
    fy = fy * fy * (3.0f - 2.0f * fy);
    float a = lattice(seed, ix, iy), b = lattice(seed, ix + 1, iy);
    float c = lattice(seed, ix, iy + 1), d = lattice(seed, ix + 1, iy + 1);
    return (a + (b - a) * fx) * (1.0f - fy) + (c + (d - c) * fx) * fy;
}

/* A soft step from 0 to 1 around 0, `width` wide. */
static float ramp(float x, float width) {
    float t = x / width + 0.5f;
    return t < 0.0f ? 0.0f : t > 1.0f ? 1.0f : t;
}

/* +-1/4 triangle wave of period 1: distance to the nearest edge between two bands, signed by band. */
static float band(float t) { return fabsf(t - floorf(t) - 0.5f) - 0.25f; }

/* Weight of the second shade at (x, y); pixel is a pixel's width in image units. */
static float texture_at(const oc_scene *s, float x, float y, float cosine, float sine, float pixel) {
    const float period = s->texture_period;
    const float u = (cosine * x + sine * y) / period + s->texture_phase;
    const float v = (cosine * y - sine * x) / period + 0.37f;
    const float w = pixel / period;
    switch (s->texture) {
    case OC_TEXTURE_GRADIENT: return cosine * (x - 0.5f) * 0.75f + sine * (y - 0.5f) * 0.75f + 0.5f;
    case OC_TEXTURE_STRIPES: return ramp(band(u), w);
    case OC_TEXTURE_CHECKS: {
        float a = ramp(band(u), w), b = ramp(band(v), w);
        return a + b - 2.0f * a * b;
    }
    case OC_TEXTURE_DOTS: {
        float dx = u - floorf(u) - 0.5f, dy = v - floorf(v) - 0.5f;
        return ramp(0.27f - sqrtf(dx * dx + dy * dy), w);
    }
    case OC_TEXTURE_NOISE:
        return 0.65f * smooth_noise(s->texture_seed, x * 11.0f, y * 11.0f) +
               0.35f * smooth_noise(s->texture_seed + 1, x * 27.0f, y * 27.0f);
    case OC_TEXTURE_PLAIN:
    case OC_TEXTURE_COUNT: break;
    }
    return 0.0f;
}

static uint8_t blend(uint8_t a, uint8_t b, float t) { return (uint8_t)((float)a + ((float)b - (float)a) * t + 0.5f); }

static void draw_background(uint8_t *rgb, int size, const oc_scene *s) {
    const float pixel = 1.0f / (float)size, cosine = cosf(s->texture_angle), sine = sinf(s->texture_angle);
    for (int j = 0; j < size; j++) {
        for (int i = 0; i < size; i++, rgb += 3) {
            float t = texture_at(s, ((float)i + 0.5f) * pixel, ((float)j + 0.5f) * pixel, cosine, sine, pixel);
            t = t < 0.0f ? 0.0f : t > 1.0f ? 1.0f : t;
            for (int c = 0; c < 3; c++) rgb[c] = blend(s->tint_rgb[0][c], s->tint_rgb[1][c], t);
        }
    }
}

/* --- Objects ------------------------------------------------------------------------------------------------------- */

static int clamp_pixel(float x, int size) { return x < 0.0f ? 0 : x > (float)size ? size : (int)x; }

static void draw_object(uint8_t *rgb, int size, const oc_scene_object *object) {
    oc_outline outline;
    oc_outline_init(&outline, object);
    const float side = (float)size, reach = OC_SHAPE_REACH * object->radius * side + 1.0f;
    const int i0 = clamp_pixel(object->x * side - reach, size), i1 = clamp_pixel(object->x * side + reach + 1.0f, size);
    const int j0 = clamp_pixel(object->y * side - reach, size), j1 = clamp_pixel(object->y * side + reach + 1.0f, size);
    for (int j = j0; j < j1; j++) {
        for (int i = i0; i < i1; i++) {
            float d = oc_outline_distance(&outline, ((float)i + 0.5f) / side, ((float)j + 0.5f) / side) * side;
            if (d >= 0.5f) continue;
            float cover = d <= -0.5f ? 1.0f : 0.5f - d;
            uint8_t *p = rgb + 3 * ((size_t)j * (size_t)size + (size_t)i);
            for (int c = 0; c < 3; c++) p[c] = blend(p[c], object->rgb[c], cover);
        }
    }
}

void oc_scene_render(uint8_t *rgb, int size, const oc_scene *s) {
    OC_ASSERT(size > 0 && s->count <= OC_SCENE_MAX_OBJECTS);
    draw_background(rgb, size, s);
    for (int i = 0; i < s->count; i++) draw_object(rgb, size, &s->object[i]);
}
