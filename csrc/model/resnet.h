/* ResNet-18 along time (SPEC 10): twelve leads of S samples -> z (L, 512), L = S / 16 rounded up; its mean is the
 * feature.
 *   stem      y = ReLU(Norm(Conv7/2(x)))                                  no max pooling
 *   block     y = ReLU(Norm2(Conv3(ReLU(Norm1(Conv3/s(x))))) + shortcut)  shortcut: x, or Norm(Conv1/s(x)) where s is 2
 *
 * Activations are (positions, channels). Batch normalisation couples the batch in every layer, so training goes layer
 * by layer: a sweep over recordings, each convolved and its moments taken, then a join in the recordings' order, whose
 * statistics the next sweep begins with. Backward the same, with gradients of weights in lanes like those of the
 * transformer. Neither depends on the number of threads. In evaluation recordings do not meet.
 *
 * The batch is that of agnostic tokens, (12, P) samples a token, laid side by side by their segments; segments that a
 * shorter or masked recording lacks, and leads that it lacks, are 0.
 *
 * Memory of training: for each recording every convolution's output and every block's, 29 maps of 0.64 MB at 5000
 * samples, and two of gradients: 20 MB, as long as memory_mb holds them. The other recordings keep the blocks' outputs;
 * their convolutions share three places and are computed again in the backward pass, to the same bits: 14 maps, 9 MB,
 * for a third more work. A batch of 512 takes 10 GB with all kept, 5 GB with memory_mb=1024.                         */
#ifndef KM_RESNET_H
#define KM_RESNET_H

#include "data/batch.h"
#include "model/attentionpool.h"

/* Convolutions, each with its batch normalisation: 0 the stem; then first, second and shortcut of each block. */
enum { KM_RESNET_CONVS = 1 + 3 * KM_RESNET_BLOCKS };

typedef struct km_resnet_maps {             /* of one recording in training                        */
    km_real *x[KM_RESNET_CONVS];            /* (T, N)  a convolution's output                      */
    km_real *y[1 + KM_RESNET_BLOCKS];       /* (T, N)  the stem's and each block's                 */
    km_real *dy, *other;                    /* the gradient of y, and a place for the next         */
    int again;                              /* 1: x is that of one block at a time                 */
} km_resnet_maps;

typedef struct km_resnet_norm {             /* of one convolution, over the batch                  */
    km_real *mean, *var;                    /* (N)                                                 */
    double *total;                          /* (2, N)                                              */
} km_resnet_norm;

typedef struct km_resnet_worker {           /* one thread's place to work                          */
    km_arena arena;
    km_real *signal;                        /* (S, 12)                                             */
    km_real *columns;                       /* km_conv_scratch                                     */
    km_real *a, *b, *c, *d;                 /* the largest map each                                */
    km_attentionpool pool;
} km_resnet_worker;

typedef struct km_resnet {
    km_arena arena;
    int B;
    km_resnet_maps *maps;                   /* (B)                                                 */
    km_resnet_norm norms[KM_RESNET_CONVS];
    double *parts, *shortcut_parts;         /* (B, 2, 512)  what the recordings have to join       */
    int worker_count;
    km_resnet_worker *workers;
} km_resnet;

/* Room for a batch of B in training (0: evaluation alone) and for so many threads; a zeroed km_resnet is ready for it.
 * What does not fit any more is allocated anew.                                                                     */
km_status km_resnet_reserve(km_resnet *resnet, const km_config *c, int B, int threads, km_error *err);
void km_resnet_free(km_resnet *resnet);

/* Training mode, batch statistics (the running ones take them in when update is 1): features (B, 512) and, unless NULL,
 * projected (B, J) by attention pooling.                                                                            */
void km_resnet_forward(km_real *features, km_real *projected, km_resnet *resnet, const km_batch *batch,
                       km_statistics *running, int update, const km_params *w, const km_config *c, const km_ops *o,
                       int threads);

/* After it: gradients of weights are added to the lanes, those of norms to dw. dfeatures (B, 512) and dprojected
 * (B, J), either may be NULL.                                                                                       */
void km_resnet_backward(km_params *dw, km_params **lanes, int lane_count, const km_real *dfeatures,
                        const km_real *dprojected, km_resnet *resnet, const km_batch *batch, const km_params *w,
                        const km_config *c, const km_ops *o, int threads);

/* Evaluation mode of recording b: features (512) and, unless NULL, projected (J). */
void km_resnet_evaluate(km_real *features, km_real *projected, km_resnet_worker *worker, const km_batch *batch, int b,
                        const km_statistics *running, const km_params *w, const km_config *c, const km_ops *o);

#endif
