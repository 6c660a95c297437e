/*
 * cli/main.c - the program's name decides its manners: called tensorflow_model_server it takes that program's
 * flags, called serve it is the SageMaker container's, called tern it has commands.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "handler/isolated.h"

static void usage(FILE *out)
{
    fputs("Tern " TERN_VERSION " serves TensorFlow models.\n\n"
          "usage: tern COMMAND [flags]\n\n"
          "  serve           load models and answer over REST and gRPC\n"
          "  bench           measure a running server: latency, throughput, where the time goes\n"
          "  tune            try engines and settings on a model, write the best beside it\n"
          "  read            what web pages say: text, Markdown or JSON, by the page model\n"
          "  check-handler   say what a handler plugin is; run a document through it and a model\n"
          "  version         print the version\n"
          "  help            print this text\n\n"
          "Start with: tern serve --model_base_path=DIR     (DIR holds numbered versions)\n"
          "Flags of a command: tern COMMAND --help\n",
          out);
}

static tn_str base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return tn_str_from(slash != NULL ? slash + 1 : path);
}

int main(int argc, char **argv)
{
    tn_str name = base_name(argc > 0 ? argv[0] : "tern");
    if (tn_str_eq(name, TN_STR("tensorflow_model_server")))
        return tn_cli_serve(TN_MANNER_SERVING, false, argc, argv);
    if (tn_str_eq(name, TN_STR("serve")))
        return tn_cli_serve(TN_MANNER_TERN, true, argc, argv);
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    tn_str command = tn_str_from(argv[1]);
    if (tn_str_eq(command, TN_STR("serve")))
        return tn_cli_serve(TN_MANNER_TERN, false, argc - 1, argv + 1);
    if (tn_str_eq(command, TN_STR("bench")))
        return tn_cli_bench(argc - 1, argv + 1);
    if (tn_str_eq(command, TN_STR("tune")))
        return tn_cli_tune(argc - 1, argv + 1);
    if (tn_str_eq(command, TN_STR("read")))
        return tn_cli_read(argc - 1, argv + 1);
    if (tn_str_eq(command, TN_STR("check-handler")))
        return tn_cli_check_handler(argc - 1, argv + 1);
    if (tn_str_eq(command, TN_STR("handler-worker"))) /* started by the server: no command for people */
        return argc == 3 ? tn_handler_worker(argv[2]) : 2;
    if (tn_str_eq(command, TN_STR("version")) || tn_str_eq(command, TN_STR("--version"))) {
        puts("tern " TERN_VERSION);
        return 0;
    }
    if (tn_str_eq(command, TN_STR("help")) || tn_str_eq(command, TN_STR("--help")) ||
        tn_str_eq(command, TN_STR("-h"))) {
        usage(stdout);
        return 0;
    }
    fprintf(stderr, "tern: there is no command \"%s\". See tern help\n", argv[1]);
    return 2;
}
