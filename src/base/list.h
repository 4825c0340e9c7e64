/*
 * list.h: a doubly linked list whose links live in its members.
 *
 * For: sets of objects with O(1) insertion and removal. A list head is a struct bb_list that
 * points to itself when empty; a member that is in no list also points to itself.
 * Threads: one owner. Memory: none of its own. Errors: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct bb_list {
	struct bb_list *next, *prev;
};

#define BB_CONTAINER(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

static inline void bb_list_init(struct bb_list *l)
{
	l->next = l->prev = l;
}

static inline bool bb_list_is_empty(const struct bb_list *l)
{
	return l->next == l;
}

/* In front of the first. */
static inline void bb_list_push(struct bb_list *head, struct bb_list *item)
{
	item->next = head->next;
	item->prev = head;
	head->next->prev = item;
	head->next = item;
}

/* Behind the last. */
static inline void bb_list_append(struct bb_list *head, struct bb_list *item)
{
	item->prev = head->prev;
	item->next = head;
	head->prev->next = item;
	head->prev = item;
}

static inline void bb_list_remove(struct bb_list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	bb_list_init(item);
}

/* `safe` allows the body to remove `it`. */
#define BB_LIST_EACH(it, safe, head)                                                               \
	for (struct bb_list *it = (head)->next, *safe = it->next; it != (head);                    \
	     it = safe, safe = it->next)
