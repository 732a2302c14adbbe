/*
 * meta.h -- the command line of meta commands: mg ms md ma me.
 */
#ifndef PROTO_META_H
#define PROTO_META_H

#include "proto.h"
#include "text_token.h"

/*
 * t stands at the start of a line of at least four bytes, terminator included; the request has been
 * started.  False: it is no meta command, nothing was done.
 */
bool meta_parse(struct tokens *t, struct request *req);

#endif
