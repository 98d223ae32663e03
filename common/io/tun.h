/* tun: a layer 3 virtual interface, for batches of IP packets. Linux:
 * IFF_VNET_HDR with TSO4, TSO6 and USO where the kernel has them, so that one
 * read gives and one write takes up to 64 KB; the splitting and joining is
 * core/vnet. No descriptor in this header's data path.
 * The interface may be moved to another network namespace; state, name and
 * MTU are followed there as far as the kernel lets us. */
#ifndef UKAI_TUN_H
#define UKAI_TUN_H

#include "core/diag.h"
#include "core/pbuf.h"
#include "core/vnet.h"

struct tun;

/* What is to be free in front of a packet that is written. */
#define TUN_ROOM VNET_HDR_LEN

/* Offloads to do without, as where the kernel lacks them. */
enum {
	TUN_NO_VNET_HDR = 1, /* no vnet header: one whole packet a call */
	TUN_NO_GSO = 2,      /* with the header, but no super-packets */
	TUN_NO_USO = 4,      /* no super-packets of UDP */
};

struct tun_conf {
	const char *name; /* of the interface to make */
	int fd;           /* >= 0: an open TUN descriptor to use instead, with
	                     IFF_NO_PI; owned by tun afterwards, also on
	                     failure */
	uint32_t mtu;     /* set at open; 0: leave */
	unsigned no_offload; /* TUN_NO_..., or-ed; 0: all there is. A vnet
	                        header of fd stays. */
	bool shared; /* tun_join() will be called */
	uint32_t headroom, tailroom; /* kept free around every packet read */
};

enum tun_state { TUN_DOWN, TUN_UP, TUN_GONE };

/* Most packets that one tun_read gives: a 64 KB super-packet at Linux's
 * smallest MSS is 1365. */
#define TUN_READ_MAX 2048

/* Make the interface: down, no address, not persistent. Returns 0; UK_EBUSY
 * (name in use), UK_EPERM, UK_ENOENT (no /dev/net/tun), UK_EINVAL (not a name,
 * not a TUN descriptor), UK_ESYS, UK_ENOMEM, with a sentence in d that says
 * what to do. */
int tun_open(struct tun **t, const struct tun_conf *c, struct diag *d);
void tun_close(struct tun *t); /* the interface goes; NULL: no-op */
/* More queues of the interface, for another thread: only tun_fd, tun_read,
 * tun_write, tun_stats and tun_close are for them. A flow's packets go to the
 * thread that has written packets of its other direction within the last three
 * seconds, else to any, always the same. When that changes (with a flow's first
 * answer, or after such a silence) packets that wait there are overtaken. c is
 * as it was for the first; an interface of another's descriptor cannot be
 * joined. Errors as tun_open; UK_EBUSY also: it was renamed meanwhile. */
int tun_join(struct tun **t, const struct tun *first, const struct tun_conf *c,
    struct diag *d);

int tun_fd(const struct tun *t); /* poll for reading */
/* Readable: call tun_refresh. The same all the time. After a second move to
 * another namespace, or without the right to hear from there, only coming up
 * is such an event: call tun_refresh once a second as well. */
int tun_event_fd(const struct tun *t);
/* Look at the interface again. Cheap enough for once a second. Up, down and
 * gone are always right; name, index and MTU stay as they were last seen while
 * the interface is in a namespace that is closed to us (CAP_SYS_ADMIN opens
 * it). May start a thread, which ends before this returns. */
enum tun_state tun_refresh(struct tun *t);
const char *tun_name(const struct tun *t); /* as last seen */
unsigned tun_ifindex(const struct tun *t); /* in its namespace; 0: unknown */
uint32_t tun_mtu(const struct tun *t); /* as last seen; 1420: never seen */

/* Read what is there without waiting, until out is full or a fair batch is
 * had. A thread has several queues, and each flow stands in one of them. They
 * are read in turn: a flow that fills its queue holds up none of the others. Of
 * an interface that is not shared a flow's packets come in order (fragments are
 * a flow of their own).
 * Packets are finished (checksums, lengths) and valid until the next call.
 * Returns the number; 0: nothing there; UK_ENOENT: interface is gone. cap must
 * be TUN_READ_MAX. */
int tun_read(struct tun *t, struct pbuf *out, unsigned cap);

/* Write packets, joining those of one flow. The order inside a flow is kept,
 * between flows it is not (core/vnet says what a flow is). The headers in
 * memory and the room in front of them may be changed; with 10 bytes of room
 * a packet is written in one piece. What the kernel refuses is dropped and
 * counted. */
void tun_write(struct tun *t, const struct pbuf *p, unsigned n);

/* Most packets that one tun_read_whole gives. */
#define TUN_READ_WHOLE_MAX 128

/* As tun_read, but what the kernel leaves to do is left: super-packets whole,
 * checksums unfinished. hdr is what the kernel said; it has not been held
 * against the packet. cap must be TUN_READ_WHOLE_MAX. */
int tun_read_whole(struct tun *t, struct vnet_packet *out, unsigned cap);

/* Write one packet as it is, super-packets whole; a checksum may be finished in
 * place, and TUN_ROOM bytes in front are changed. Returns false: refused by the
 * kernel, a super-packet of a kind that the interface does not take
 * (tun_takes), or hdr makes no sense; counted. */
bool tun_write_whole(struct tun *t, const struct vnet_packet *p);

/* Write packets of which some may be super-packets or unfinished: those go as
 * they are, the others joined. Otherwise as tun_write, and tun_write_whole. */
void tun_write_mixed(struct tun *t, const struct vnet_packet *p, unsigned n);

/* May super-packets of this vnet_gso be written, and will they be read? */
bool tun_takes(const struct tun *t, uint8_t gso_type);

struct tun_stats {
	uint64_t write_dropped; /* refused by the kernel, or it is down */
	uint64_t read_malformed; /* vnet header and packet did not agree */
};
const struct tun_stats *tun_stats(const struct tun *t);

#endif
