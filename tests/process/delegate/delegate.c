/* A delegate library in libedgetpu's place. What loads it is real, and so are the ways in which it ends its process.
 *
 * The plugin's ABI is TensorFlow Lite's tensorflow/lite/delegates/external/external_delegate_interface.h; the layouts
 * are those of tensorflow/lite/core/c/common.h, the same from TensorFlow 2.5 to 2.21 as far as they are declared here.
 * What it does with them is what libedgetpu does (tflite/edgetpu_delegate_for_custom_op*.cc): it takes over the nodes
 * called edgetpu-custom-op, each for itself, and leaves all others to the CPU. It computes ~x, byte for byte.
 *
 * Options, beside libedgetpu's own:
 *   Test.Fault    WHEN-WHAT. WHEN: create, prepare, invoke or destroy. WHAT: abort, crash, hang (and ignore SIGTERM);
 *                 create-refuse gives a reason and no delegate, create-silent neither; prepare-fail, register-fail and
 *                 invoke-fail return an error, prepare-idle takes over nothing.
 *   Test.Once     a file with the fault of the next delegate, which removes it.
 *   Test.Journal  a file that gets a line for each thing that happens.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES_MAX 64
#define TEXT_MAX 512

typedef enum { OK = 0, ERROR = 1 } Status;
typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
    int type;
    void *data;
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

typedef struct { /* and more, not used here */
    IntArray *inputs, *outputs, *intermediates, *temporaries;
    void *user_data;
} Node;

typedef struct { /* goes by value: no field may be missing */
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

struct Context { /* and more, not used here */
    size_t tensors_size;
    Status (*GetExecutionPlan)(Context *, IntArray **);
    Tensor *tensors;
    void *impl_;
    void *ResizeTensor;
    void (*ReportError)(Context *, const char *, ...);
    void *AddTensors;
    Status (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
    Status (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
    void *data_;
    Status (*Prepare)(Context *, Delegate *);
    void *CopyFromBufferHandle, *CopyToBufferHandle, *FreeBufferHandle;
    int64_t flags;
    void *opaque_delegate_builder;
};

typedef struct {
    Delegate base; /* first: the runtime knows this part only */
    char fault[TEXT_MAX], once[TEXT_MAX], journal[TEXT_MAX], device[TEXT_MAX], performance[TEXT_MAX];
} Ours;

static void note(const Ours *ours, const char *what, const char *key, const char *value) {
    char line[3 * TEXT_MAX];
    int length = snprintf(line, sizeof line, "%s %s=%s\n", what, key, value);
    int file = ours->journal[0] ? open(ours->journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (file < 0) return;
    if (write(file, line, (size_t)length) != length) abort();
    close(file);
}

static bool meant(const Ours *ours, const char *fault) { return strcmp(ours->fault, fault) == 0; }

static void suffer(const Ours *ours, const char *when) {
    size_t length = strlen(when);
    if (strncmp(ours->fault, when, length) != 0 || ours->fault[length] != '-') return;
    const char *what = ours->fault + length + 1;
    if (strcmp(what, "abort") == 0) {
        fprintf(stderr, "F driver/usb/usb_driver.cc:857] transfer on tag 1 failed. Abort.\n"); /* libedgetpu's words */
        abort();
    }
    if (strcmp(what, "crash") == 0) {
        int *volatile nowhere = NULL;
        *nowhere = 1;
    }
    if (strcmp(what, "hang") == 0) {
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
    }
}

static void *kernel_init(Context *context, const char *parameters, size_t length) {
    (void)context, (void)length;
    return *(Delegate *const *)parameters; /* the first field of TfLiteDelegateParams */
}

static Status kernel_prepare(Context *context, Node *node) {
    if (!meant(node->user_data, "register-fail")) return OK;
    context->ReportError(context, "Failed to prepare for TPU. %s", "Package requires a newer runtime version");
    return ERROR;
}

static Status kernel_invoke(Context *context, Node *node) {
    const Tensor *in = &context->tensors[node->inputs->data[0]];
    const Tensor *out = &context->tensors[node->outputs->data[0]];
    suffer(node->user_data, "invoke");
    if (meant(node->user_data, "invoke-fail") || in->bytes != out->bytes) return ERROR;
    for (size_t i = 0; i < out->bytes; i++) ((uint8_t *)out->data)[i] = (uint8_t)~((const uint8_t *)in->data)[i];
    return OK;
}

static Status prepare(Context *context, Delegate *delegate) {
    const Ours *ours = (const Ours *)delegate;
    const Registration kernel = {.init = kernel_init, .prepare = kernel_prepare, .invoke = kernel_invoke,
                                 .custom_name = "DelegateOfTests", .version = 1};
    int nodes[NODES_MAX], count = 0;
    IntArray *plan;
    suffer(ours, "prepare");
    if (meant(ours, "prepare-fail") || context->GetExecutionPlan(context, &plan) != OK) return ERROR;
    for (int i = 0; i < plan->size && count < NODES_MAX && !meant(ours, "prepare-idle"); i++) {
        Node *node;
        Registration *op;
        if (context->GetNodeAndRegistration(context, plan->data[i], &node, &op) != OK) return ERROR;
        if (op->custom_name && strcmp(op->custom_name, "edgetpu-custom-op") == 0) nodes[count++] = plan->data[i];
    }
    IntArray *one = malloc(sizeof *one + sizeof(int));
    Status status = one ? OK : ERROR;
    for (int i = 0; i < count && status == OK; i++) {
        one->size = 1;
        one->data[0] = nodes[i];
        status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, one, delegate);
    }
    free(one);
    char number[16];
    snprintf(number, sizeof number, "%d", count);
    note(ours, "prepare", "taken", number);
    return status;
}

static void take(Ours *ours, const char *key, const char *value) {
    struct { const char *key; char *field; } known[] = {
        {"Test.Fault", ours->fault},     {"Test.Once", ours->once},          {"Test.Journal", ours->journal},
        {"device", ours->device},        {"Performance", ours->performance},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(key, known[i].key) == 0) snprintf(known[i].field, TEXT_MAX, "%s", value);
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report_error)(const char *)) {
    Ours *ours = calloc(1, sizeof *ours);
    if (!ours) return NULL;
    for (size_t i = 0; i < count; i++) take(ours, keys[i], values[i]);
    for (size_t i = 0; i < count; i++) note(ours, "option", keys[i], values[i]);
    FILE *once = ours->once[0] ? fopen(ours->once, "re") : NULL;
    if (once && fgets(ours->fault, TEXT_MAX, once)) unlink(ours->once);
    if (once) fclose(once);
    suffer(ours, "create");
    bool refused = meant(ours, "create-refuse");
    if (refused) report_error("the test wants it so");
    if (refused || meant(ours, "create-silent")) {
        free(ours);
        return NULL;
    }
    /* As libedgetpu does: nothing but the device's number makes it look at the other options. */
    bool heard = strchr(ours->device, ':') != NULL && ours->performance[0];
    note(ours, "open", "performance", heard ? ours->performance : "Max");
    ours->base.Prepare = prepare;
    ours->base.flags = 1; /* kTfLiteDelegateFlagsAllowDynamicTensors */
    return &ours->base;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) {
    if (!delegate) return; /* load_delegate hands back what it did not get */
    suffer((const Ours *)delegate, "destroy");
    note((const Ours *)delegate, "destroy", "device", ((const Ours *)delegate)->device);
    free(delegate);
}

const char *edgetpu_version(void) {
    return "BuildLabel(COMPILER=12.2.0,DATE=redacted,TIME=redacted), RuntimeVersion(14)";
}
