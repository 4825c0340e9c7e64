/* tokenizer_gguf.c: a tokenizer made of a GGUF file's metadata. */
#include "text/tokenizer.h"

int tokenizer_create_gguf(struct bb_str file, struct tokenizer **out, struct text_error *e)
{
	return text_error_invalid(e, "GGUF vocabularies are not supported");
}
