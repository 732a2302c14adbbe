/*
 * list.h -- an intrusive doubly linked ring.
 *
 * A head is a node that carries nothing; an empty list is a head linked to itself; a node outside
 * any list is linked to itself too, so taking it out twice is harmless.  No locking.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_ENTRY(node, type, member) ((type *)((char *)(node) - offsetof(type, member)))

static inline void
list_init(struct list *node)
{
    node->next = node->prev = node;
}

static inline bool
list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void
list_take(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Puts a node that is in no list at the tail. */
static inline void
list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

#endif
