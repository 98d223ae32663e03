/* err: the one error enumeration. Functions return 0 or one of these (all
 * negative) unless their header says otherwise. */
#ifndef UKAI_ERR_H
#define UKAI_ERR_H

enum uk_err {
	UK_ENOMEM = -1,   /* out of memory */
	UK_EINVAL = -2,   /* a value that is not allowed */
	UK_ELIMIT = -3,   /* a cap is reached */
	UK_EREPLAY = -4,  /* counter seen before, or older than the window */
	UK_EAUTH = -5,    /* does not authenticate */
	UK_ENOENT = -6,   /* no such thing */
	UK_EEXIST = -7,   /* there already */
	UK_EPERM = -8,    /* the system says: not permitted */
	UK_EAGAIN = -9,   /* not now; a later event makes it possible */
	UK_EMSGSIZE = -10, /* does not fit */
	UK_ESYS = -11,    /* another system error; errno or the diag says which */
	UK_EBUSY = -12,   /* somebody else holds it (port, name, lock) */
	UK_ECRYPTO = -13, /* the crypto library failed or lacks an algorithm */
	UK_EPROTO = -14,  /* text or message out of form */
};

/* A short English phrase for an error; never NULL. */
const char *uk_strerror(int err);

#endif
