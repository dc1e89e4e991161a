/* Every subcommand, in the order of `ocellus --help`: OC_COMMAND(x) stands for oc_command_x in src/cli. Add the line
 * in the commit that adds the file, since each line is linked. Included by main.c only, which defines the two macros. */
OC_GROUP("Use a model")
OC_COMMAND(caption)
OC_COMMAND(ask)
OC_COMMAND(forward)
OC_COMMAND(inspect)

OC_GROUP("Measure")
OC_COMMAND(report)
OC_COMMAND(score)
OC_COMMAND(eval)
OC_COMMAND(compare)

OC_GROUP("Train")
OC_COMMAND(init)
OC_COMMAND(train)
OC_COMMAND(pretrain_vision)
OC_COMMAND(pretrain_text)
OC_COMMAND(sweep)

OC_GROUP("Data and formats")
OC_COMMAND(data_synth)
OC_COMMAND(preprocess)
OC_COMMAND(tokenize)
OC_COMMAND(tokenizer_train)

OC_GROUP("Benchmarks")
OC_COMMAND(bench_train)
OC_COMMAND(bench_infer)
