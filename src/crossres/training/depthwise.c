// A depthwise convolution and its two gradients on channels-last maps, vectorised along the channels.
//
// images [N, H, W, C], outputs [N, OH, OW, C], taps [K·K, C]. The map is padded with zeros: PY and PX rows and columns
// before it, and as many after it as the output needs. Compiled once per type and machine by fast_conv.py.
#include <string.h>

#ifndef REAL
#define REAL float
#endif
#define BLOCK 64 // channels whose sums stay in registers and in the first cache

typedef struct { long n, h, w, oh, ow, c, k, stride, py, px; } Shape;

static inline void add_product(REAL *sum, const REAL *a, const REAL *b, long count) {
    if (count == BLOCK)
        for (long c = 0; c < BLOCK; c++) sum[c] += a[c] * b[c];
    else
        for (long c = 0; c < count; c++) sum[c] += a[c] * b[c];
}

void forward(const REAL *images, const REAL *taps, REAL *outputs, const Shape *s) {
    for (long n = 0; n < s->n; n++)
        for (long oy = 0; oy < s->oh; oy++)
            for (long ox = 0; ox < s->ow; ox++)
                for (long c = 0; c < s->c; c += BLOCK) {
                    long count = s->c - c < BLOCK ? s->c - c : BLOCK;
                    REAL sum[BLOCK] = {0};
                    for (long ky = 0; ky < s->k; ky++) {
                        long y = oy * s->stride + ky - s->py;
                        if (y < 0 || y >= s->h) continue;
                        for (long kx = 0; kx < s->k; kx++) {
                            long x = ox * s->stride + kx - s->px;
                            if (x < 0 || x >= s->w) continue;
                            add_product(sum, images + ((n * s->h + y) * s->w + x) * s->c + c,
                                        taps + (ky * s->k + kx) * s->c + c, count);
                        }
                    }
                    memcpy(outputs + ((n * s->oh + oy) * s->ow + ox) * s->c + c, sum, count * sizeof(REAL));
                }
}

void gradient_of_images(const REAL *gradient, const REAL *taps, REAL *of_images, const Shape *s) {
    for (long n = 0; n < s->n; n++)
        for (long y = 0; y < s->h; y++)
            for (long x = 0; x < s->w; x++)
                for (long c = 0; c < s->c; c += BLOCK) {
                    long count = s->c - c < BLOCK ? s->c - c : BLOCK;
                    REAL sum[BLOCK] = {0};
                    for (long ky = 0; ky < s->k; ky++) {
                        long oy = y + s->py - ky;
                        if (oy < 0 || oy % s->stride || oy / s->stride >= s->oh) continue;
                        for (long kx = 0; kx < s->k; kx++) {
                            long ox = x + s->px - kx;
                            if (ox < 0 || ox % s->stride || ox / s->stride >= s->ow) continue;
                            add_product(sum, gradient + ((n * s->oh + oy / s->stride) * s->ow + ox / s->stride) * s->c + c,
                                        taps + (ky * s->k + kx) * s->c + c, count);
                        }
                    }
                    memcpy(of_images + ((n * s->h + y) * s->w + x) * s->c + c, sum, count * sizeof(REAL));
                }
}

void gradient_of_taps(const REAL *images, const REAL *gradient, REAL *of_taps, const Shape *s) {
    memset(of_taps, 0, s->k * s->k * s->c * sizeof(REAL));
    for (long c = 0; c < s->c; c += BLOCK) {
        long count = s->c - c < BLOCK ? s->c - c : BLOCK;
        for (long n = 0; n < s->n; n++)
            for (long oy = 0; oy < s->oh; oy++)
                for (long ox = 0; ox < s->ow; ox++)
                    for (long ky = 0; ky < s->k; ky++) {
                        long y = oy * s->stride + ky - s->py;
                        if (y < 0 || y >= s->h) continue;
                        for (long kx = 0; kx < s->k; kx++) {
                            long x = ox * s->stride + kx - s->px;
                            if (x < 0 || x >= s->w) continue;
                            add_product(of_taps + (ky * s->k + kx) * s->c + c,
                                        images + ((n * s->h + y) * s->w + x) * s->c + c,
                                        gradient + ((n * s->oh + oy) * s->ow + ox) * s->c + c, count);
                        }
                    }
    }
}
