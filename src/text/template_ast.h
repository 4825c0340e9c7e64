/*
 * template_ast.h: a compiled template.
 *
 * For: template_parse makes it, template_eval walks it. Names are resolved when a template is
 * compiled: each scope (the template, a loop's body, a macro, ...) has slots for the names that are
 * set in it, kept in the frame of the function that it is part of: the template or a macro.
 * Threads: immutable once compiled. Memory: everything is in the template's tmem. Errors: none.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"
#include "text/template.h"
#include "text/template_value.h"

enum node_kind {
	/* expressions */
	E_CONST,  /* value */
	E_NAME,	  /* text, refs, count: slots where it may be, inner ones first; then ctx */
	E_LIST,	  /* a: items */
	E_TUPLE,  /* a: items; also as a target */
	E_DICT,	  /* a: key, value, key, value ... */
	E_ATTR,	  /* a.text; attr */
	E_ITEM,	  /* a[b]; attr when b is a constant string, else NULL */
	E_SLICE,  /* a[b:c:d], each may be NULL */
	E_CALL,	  /* a(b: arguments) */
	E_FILTER, /* a|text(b: arguments); a is NULL in filter and set blocks; filter may be NULL */
	E_TEST,	  /* a is text(b: arguments); test may be NULL */
	E_NOT,	  /* a */
	E_NEG,	  /* -a */
	E_POS,	  /* +a */
	E_AND,	  /* a and b */
	E_OR,	  /* a or b */
	E_COMPARE, /* a, b: operands, each with its op */
	E_ADD,	   /* a: count operands, from the left */
	E_CONCAT,  /* a: operands of ~ */
	E_BINARY,  /* a op b */
	E_COND,	   /* b if a else c; c may be NULL */
	A_KEYWORD, /* text=a */
	A_STAR,	   /* *a */
	A_DSTAR,   /* **a */
	C_OPERAND, /* op a, of E_COMPARE */
	T_NSATTR,  /* a (a name).text, as a target */
	/* tags; lists of them hang together by next */
	S_DATA,	     /* text */
	S_OUTPUT,    /* a */
	S_IF,	     /* a: test, b: then, c: else */
	S_FOR,	     /* loop */
	S_SET,	     /* a: target, b: value */
	S_SET_BLOCK, /* a: target, b: filters or NULL, c: body, scope */
	S_MACRO,     /* a: target, def */
	S_CALL,	     /* a: the call, def: the caller */
	S_FILTER,    /* b: filters, c: body, scope */
	S_WITH,	     /* a: targets, b: values, c: body, scope */
	S_SCOPE,     /* c: body, scope: a generation block */
	S_BREAK,
	S_CONTINUE,
};

enum binary_op {
	OP_SUB,
	OP_MUL,
	OP_DIV,
	OP_FLOORDIV,
	OP_MOD,
	OP_POW,
	OP_ADD,
	/* of C_OPERAND */
	OP_EQ,
	OP_NE,
	OP_LT,
	OP_LE,
	OP_GT,
	OP_GE,
	OP_IN,
	OP_NOT_IN,
	/* Short ways: a node whose `op` is one of these is of the kind behind it. */
	OP_MEMBER, /* E_ATTR, E_ITEM: a is a name, and of a dict this can only be a key */
	OP_LOCAL,  /* E_NAME: refs[0], of this function, or the template's free name */
	OP_TEXT,   /* E_COMPARE: a == or != a constant string */
};

#define LOOP_ATTRS(X)                                                                              \
	X(INDEX, "index")                                                                          \
	X(INDEX0, "index0")                                                                        \
	X(REVINDEX, "revindex")                                                                    \
	X(REVINDEX0, "revindex0")                                                                  \
	X(FIRST, "first")                                                                          \
	X(LAST, "last")                                                                            \
	X(LENGTH, "length") X(PREVITEM, "previtem") X(NEXTITEM, "nextitem") X(DEPTH, "depth")      \
		X(DEPTH0, "depth0") X(CYCLE, "cycle") X(CHANGED, "changed")
enum loop_attr {
	LOOP_NONE,
#define X(name, text) LOOP_##name,
	LOOP_ATTRS(X)
#undef X
};

struct tref {
	uint16_t up; /* functions outward */
	uint16_t slot;
};

/* A name of a scope; while compiling. */
struct tlocal {
	struct tlocal *next;
	struct bb_str name;
	uint16_t slot; /* within the scope */
};

struct tscope {
	struct tscope *parent, *next; /* next: of all, in order of their making */
	struct tfunc *func;
	struct tlocal *locals;
	uint16_t base, count; /* its slots */
};

/* A frame's shape: the template's or a macro's. */
struct tfunc {
	struct tfunc *parent;
	uint32_t slot_count;
};

struct tparam {
	struct bb_str name;
	struct tnode *fallback; /* its default; NULL: none */
	uint16_t slot;
};

struct tmacro_def {
	struct bb_str name;
	struct tfunc func;
	struct tscope *scope;
	struct tparam *params;
	uint32_t param_count;
	struct tnode *body;
	struct tlocal *caller, *varargs, *kwargs; /* NULL: the body does not use it */
};

struct tloop_def {
	struct tnode *target, *iter, *test, *body, *otherwise;
	struct tscope *scope, *else_scope;
	struct tlocal *loop;
	bool is_recursive;
};

struct tnode {
	uint8_t kind; /* enum node_kind */
	uint8_t op;
	uint16_t count;
	uint32_t at; /* offset in the source */
	struct tnode *next;
	union {
		struct tnode *a;
		uint32_t ctx; /* E_NAME: which of the template's free names it is */
	};
	struct tnode *b, *c;
	union {
		struct bb_str text;
		struct tvalue value;
		struct tnode *d;
	};
	union {
		const struct tfilter *filter;
		const struct ttest *test;
		const struct tattr *attr;
		struct tref *refs;
		struct tscope *scope;
		struct tmacro_def *def;
		struct tloop_def *loop;
	};
};

/* A name whose value may come from outside of the template. */
struct tfree {
	struct bb_str name;
	const struct tfunction *function; /* what it is when the input has none; NULL: undefined */
	uint8_t variable; /* of the input (template_bind.c); 0: none that is known */
};

struct template
{
	struct tmem mem;
	struct bb_str source;
	struct tnode *body;
	struct tfunc func;
	struct tfree *names; /* that are not set by the template alone: looked up in the input */
	uint32_t name_count;
	enum template_content content;
};
