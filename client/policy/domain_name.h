/* domain_name: names as rules and DNS messages spell them, in one form: small
 * letters, A-labels (RFC 5890), no dot at the end. Pure; IDNA by libidn2. */
#ifndef UKAI_POLICY_DOMAIN_NAME_H
#define UKAI_POLICY_DOMAIN_NAME_H

#include "core/base.h"

#define DOMAIN_NAME_MAX 254 /* with its zero */

/* Write the one form of a name in UTF-8 or ASCII. Underscores are fine, as in
 * _dmarc; a dot may end it. Returns its length; UK_EINVAL: it is no domain
 * name (empty label, label over 63 or name over 253 bytes, a character that
 * may not be there, no IDN); UK_ENOMEM. */
int domain_name(char out[static DOMAIN_NAME_MAX], const char *text, size_t len);

/* For the letters of DOMAIN-KEYWORD: as above, but dots and dashes may stand
 * anywhere. */
int domain_keyword(
    char out[static DOMAIN_NAME_MAX], const char *text, size_t len);

#endif
