/* test/fuzz/replay.c - runs a fuzz target over the files in argv, so that `make test` needs no clang: what was found
 * stays found.
 *
 * Each file is read into a block of exactly its size, so that a sanitizer sees a read behind it. No file: exit 2. */
#include "runtime/base/os.h"

enum { REPLAY_BYTES = 64 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct qmt_buf file = {0};
		struct qmt_err err = {0};

		if (qmt_os_file_read(argv[i], REPLAY_BYTES, &file, &err) < 0) {
			fprintf(stderr, "%s\n", err.text);
			return 1;
		}

		uint8_t *exact = malloc(file.len > 0 ? file.len : 1);

		if (!exact)
			return 1;
		if (file.len > 0)
			memcpy(exact, file.data, file.len);
		fprintf(stderr, "%s\n", argv[i]); /* the last line says which file it was */
		LLVMFuzzerTestOneInput(exact, file.len);
		free(exact);
		qmt_buf_free(&file);
	}
	return argc > 1 ? 0 : 2;
}
