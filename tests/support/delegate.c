/* A TensorFlow Lite external delegate for the tests: computes the first ADD of a graph, and breaks in the ways that
 * accelerators do. The structures are those of TFLite's c/common.h as far as they are used here; their layout is part of
 * the stable interface for external delegates.
 *
 * Options: claim=0       take over nothing
 *          off_by=N      results N integer steps too high: another rounding than the CPU's
 *          create=HOW    at creation: refuse (no word, as libedgetpu), complain, crash, hang
 *          invoke=HOW    at an inference: fail, crash, hang
 *          destroy=hang  when it is told to go, as libraries do whose device was unplugged
 *          from=N        only from the Nth inference on, the first being 1
 *          while=PATH    only as long as this file exists
 *          alone=PATH    taken by one process at a time, as an Edge TPU is: who comes second is refused without a word;
 *                        that process may run several models on it
 *          takes_ms=N    how long an inference takes, without using the processor
 */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

typedef enum { OK = 0, ERROR = 1 } Status;
typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
    int type;
    int8_t *data;
    IntArray *dims;
    struct { float scale; int32_t zero_point; } params;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    Delegate *delegate;
    int buffer_handle;
    bool data_is_stale, is_variable;
    struct { int type; void *params; } quantization;
    void *sparsity;
    const IntArray *dims_signature;
} Tensor;

typedef struct { IntArray *inputs, *outputs, *intermediates, *temporaries; void *user_data; } Node;

typedef struct {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    Status (*prepare)(Context *, Node *);
    Status (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *registration_external, *async_kernel;
    uint64_t inplace_operator;
} Registration;

struct Context {
    size_t tensors_size;
    Status (*GetExecutionPlan)(Context *, IntArray **);
    Tensor *tensors;
    void *impl;
    Status (*ResizeTensor)(Context *, Tensor *, IntArray *);
    void (*ReportError)(Context *, const char *, ...);
    Status (*AddTensors)(Context *, int, int *);
    Status (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
    Status (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
    void *data;
    Status (*Prepare)(Context *, Delegate *);
    void *copy_from_buffer_handle, *copy_to_buffer_handle, *free_buffer_handle;
    int64_t flags;
    void *opaque_delegate_builder;
};

typedef struct { int left, right, sum; } Addition;
typedef struct { Delegate *delegate; IntArray *nodes_to_replace, *input_tensors, *output_tensors; } DelegateParams;

enum { ADD = 0, KNOWN_OPTIONS = 9 };
static const char *const NAMES[KNOWN_OPTIONS] = {"claim", "off_by", "create", "invoke", "destroy", "from", "while", "alone", "takes_ms"};
static char *options[KNOWN_OPTIONS];
static int invocations;
static int taken = -1; /* the file of `alone` */

static const char *option(const char *name) {
    for (int at = 0; at < KNOWN_OPTIONS; at++)
        if (strcmp(NAMES[at], name) == 0 && options[at] != NULL) return options[at];
    return "";
}

static bool is(const char *name, const char *value) { return strcmp(option(name), value) == 0; }

static bool is_broken(void) { return is("while", "") || access(option("while"), F_OK) == 0; }

static void *init(Context *context, const char *buffer, size_t length) {
    (void)context, (void)length;
    return ((const DelegateParams *)buffer)->delegate->data;
}

static Status prepare(Context *context, Node *node) { (void)context, (void)node; return OK; }

static void add(Context *context, const Addition *addition) {
    const Tensor *left = &context->tensors[addition->left], *right = &context->tensors[addition->right];
    Tensor *sum = &context->tensors[addition->sum];
    for (size_t at = 0; at < sum->bytes; at++) {
        float real = left->params.scale * (float)(left->data[at] - left->params.zero_point) +
                     right->params.scale * (float)(right->data[at] - right->params.zero_point);
        float step = roundf(real / sum->params.scale) + (float)(sum->params.zero_point + atoi(option("off_by")));
        sum->data[at] = (int8_t)fminf(127.0f, fmaxf(-128.0f, step));
    }
}

static Status invoke(Context *context, Node *node) {
    if (++invocations >= atoi(option("from")) && is_broken()) {
        if (is("invoke", "crash")) abort();
        if (is("invoke", "hang")) for (;;) pause();
        if (is("invoke", "fail")) {
            context->ReportError(context, "the device is gone\n");
            return ERROR;
        }
    }
    usleep((useconds_t)atoi(option("takes_ms")) * 1000);
    add(context, node->user_data);
    return OK;
}

static Status claim_first_add(Context *context, Delegate *delegate) {
    IntArray *plan;
    if (is("claim", "0") || context->GetExecutionPlan(context, &plan) != OK) return OK;
    for (int at = 0; at < plan->size; at++) {
        Node *node;
        Registration *registration;
        context->GetNodeAndRegistration(context, plan->data[at], &node, &registration);
        if (registration->builtin_code != ADD || registration->custom_name != NULL) continue;
        /* A kernel may not look at nodes, so it is told here what it will need. */
        Addition *addition = delegate->data;
        *addition = (Addition){node->inputs->data[0], node->inputs->data[1], node->outputs->data[0]};
        IntArray *claimed = malloc(sizeof *claimed + sizeof(int));
        claimed->size = 1;
        claimed->data[0] = plan->data[at];
        Registration kernel = {.init = init, .prepare = prepare, .invoke = invoke,
                               .custom_name = "TestDelegate", .version = 1};
        Status replaced = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, claimed, delegate);
        free(claimed);
        return replaced;
    }
    return OK;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    for (size_t given = 0; given < count; given++) {
        int at = 0;
        while (at < KNOWN_OPTIONS && strcmp(NAMES[at], keys[given]) != 0) at++;
        if (at < KNOWN_OPTIONS) options[at] = strdup(values[given]);
    }
    /* The file stays open, and so the lock is held, until the process ends. */
    if (!is("alone", "") && taken < 0) {
        taken = open(option("alone"), O_CREAT | O_RDWR, 0600);
        if (flock(taken, LOCK_EX | LOCK_NB) != 0) {
            close(taken);
            taken = -1;
            return NULL;
        }
    }
    if (is_broken()) {
        if (is("create", "crash")) raise(SIGSEGV);
        if (is("create", "hang")) for (;;) pause();
        if (is("create", "refuse")) return NULL;
        if (is("create", "complain")) {
            report("all devices are busy");
            return NULL;
        }
    }
    Delegate *made = calloc(1, sizeof *made);
    made->data = calloc(1, sizeof(Addition));
    made->Prepare = claim_first_add;
    return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) {
    if (is("destroy", "hang")) for (;;) pause();
    if (delegate != NULL) free(delegate->data);
    free(delegate);
}
