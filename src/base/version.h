/*
 * version.h -- who we are, and which memcached we answer for.
 *
 * Clients test the protocol version for features, so `version` and `stats` answer with it; larder's
 * own version stands in `larder_version`, in -V and in the line printed at the start.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define LARDER_VERSION "0.1.0"
#define LARDER_PROTOCOL_VERSION "1.6.45"

#endif
