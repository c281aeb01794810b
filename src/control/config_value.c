/*
 * One value's text: what it means, or in words why it is refused.
 *
 * Knows nothing of YAML, positions or other keys. Pure functions, for the thread
 * that loads a config.
 */
#include "control/config_internal.h"

#include "base/name.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* The longest name that a node's socket in the rendezvous directory can have. */
#define FABRIC_SOCKET_LONGEST "/node-65534.sock"

static int __attribute__((format(printf, 2, 3)))
refuse(struct config_why *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return -EINVAL;
}

/* One byte, or its escape; never more than four. */
static size_t quote_byte(unsigned char byte, char *out)
{
	if (byte >= 0x20 && byte < 0x7f) {
		out[0] = (char)byte;
		return 1;
	}
	return (size_t)sprintf(out, "\\x%02x", byte);
}

const char *config_quote(const char *text, struct config_quote *buffer)
{
	const size_t limit = sizeof(buffer->text) - sizeof("\\xff...'");
	size_t used = 0;

	buffer->text[used++] = '\'';
	for (; *text && used < limit; text++)
		used += quote_byte((unsigned char)*text, buffer->text + used);
	strcpy(buffer->text + used, *text ? "...'" : "'");
	return buffer->text;
}

int config_parse_uint(const char *text, uint64_t *ret_value)
{
	const char *digits = *text == '-' ? text + 1 : text;
	size_t len = strspn(digits, "0123456789");
	uint64_t value = 0;

	/* No leading zero: one reader takes 010 for ten, the next for eight. */
	if (!len || digits[len] || (len > 1 && *digits == '0'))
		return -EINVAL;
	if (*text == '-')
		return -ERANGE;
	for (; *digits; digits++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*digits - '0'), &value))
			return -ERANGE;
	}
	*ret_value = value;
	return 0;
}

int config_check_name(const char *text, struct config_why *why)
{
	if (text[strspn(text, NAME_BYTES)])
		return refuse(why, "holds more than letters, digits, '.', '_' and '-'");
	return 0;
}

/* Not what dev_valid_name() of the kernel refuses, nor '%', which makes TUNSETIFF count.
 */
bool config_is_interface(const char *text)
{
	if (!*text || !strcmp(text, ".") || !strcmp(text, ".."))
		return false;
	for (; *text; text++) {
		if (*text <= ' ' || *text > '~' || strchr("/:%", *text))
			return false;
	}
	return true;
}

int config_check_tap(const char *text, struct config_why *why)
{
	if (!strcmp(text, ".") || !strcmp(text, ".."))
		return refuse(why, "cannot be the name of an interface");
	if (!config_is_interface(text))
		return refuse(why, "cannot be the name of an interface: no spaces, "
				   "no '/', ':' or '%%', ASCII only");
	return 0;
}

int config_check_path(const char *text, struct config_why *why)
{
	if (*text != '/')
		return refuse(why, "is not an absolute path: it has to start with '/'");
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			return refuse(why, "holds more than printable ASCII");
	}
	return 0;
}

/* What `ip netns` takes for a name, or a path to a file that is one. */
int config_check_netns(const char *text, struct config_why *why)
{
	if (*text == '/')
		return config_check_path(text, why);
	if (!strcmp(text, ".") || !strcmp(text, ".."))
		return refuse(why, "cannot be the name of a network namespace");
	for (; *text; text++) {
		if (*text <= ' ' || *text > '~' || *text == '/')
			return refuse(
				why, "is neither a name of 'ip netns' (ASCII, no spaces, "
				     "no '/') nor an absolute path");
	}
	return 0;
}

int config_check_fabric_dir(const char *text, struct config_why *why)
{
	const size_t longest = CONFIG_PATH_MAX - strlen(FABRIC_SOCKET_LONGEST);

	if (config_check_path(text, why))
		return -EINVAL;
	if (strlen(text) > longest)
		return refuse(why,
			      "is %zu bytes long; the names of sockets in it leave room "
			      "for %zu",
			      strlen(text), longest);
	return 0;
}

/* How far to shift for a suffix; -1 if there is no such suffix. */
static int suffix_shift(const char *suffix)
{
	if (!*suffix)
		return 0;
	if (!strcmp(suffix, "K"))
		return 10;
	return strcmp(suffix, "M") ? -1 : 20;
}

/* Bytes; UINT64_MAX stands for everything that is too much. -EINVAL: no size at all. */
static int parse_size(const char *text, uint64_t *ret_size)
{
	size_t len = strspn(text, "0123456789");
	int shift = suffix_shift(text + len);
	char digits[24] = "";
	int err;

	if (shift < 0 || !len)
		return -EINVAL;
	if (len < sizeof(digits))
		memcpy(digits, text, len);
	err = len < sizeof(digits) ? config_parse_uint(digits, ret_size) : -ERANGE;
	if (err == -EINVAL)
		return err;
	if (err || *ret_size > UINT64_MAX >> shift)
		*ret_size = UINT64_MAX;
	else
		*ret_size <<= shift;
	return 0;
}

int config_parse_ring_size(const char *text, uint32_t *ret_size, struct config_why *why)
{
	const char *const range = "a power of two from 256K to 512M is allowed";
	uint64_t size;

	if (parse_size(text, &size))
		return refuse(why, "is not a number of bytes, K or M; %s", range);
	if (size < CONFIG_RING_SIZE_MIN || size > CONFIG_RING_SIZE_MAX)
		return refuse(why, "is out of range; %s", range);
	if (size & (size - 1))
		return refuse(why, "is not a power of two; %s", range);
	*ret_size = (uint32_t)size;
	return 0;
}

int config_check_ring_size(const char *text, struct config_why *why)
{
	uint32_t size;

	return config_parse_ring_size(text, &size, why);
}

int config_check_cast_depth(const char *text, struct config_why *why)
{
	uint64_t depth = 0;

	(void)config_parse_uint(text, &depth); /* it was a number in range before */
	if (depth & (depth - 1))
		return refuse(why, "is not a power of two");
	return 0;
}

/* All bits of the host part equal to `bit`? */
static bool host_bits_are(const struct config_address *address, unsigned bit)
{
	unsigned bits = address->family == AF_INET ? 32 : 128;

	for (unsigned i = address->prefix; i < bits; i++) {
		if ((address->bytes[i / 8] >> (7 - i % 8) & 1) != bit)
			return false;
	}
	return true;
}

/* Addresses that are no single host's. */
static const char *plural_kind(const struct config_address *address)
{
	static const uint8_t zero[16];
	const uint8_t *bytes = address->bytes;

	if (!memcmp(bytes, zero, 16))
		return "the unspecified address";
	if (bytes[0] == 0xff && address->family == AF_INET6)
		return "a multicast address";
	if (address->family == AF_INET6)
		return NULL;
	if (bytes[0] >> 4 == 0xe)
		return "a multicast address";
	return memcmp(bytes, "\xff\xff\xff\xff", 4) ? NULL : "a broadcast address";
}

/* Addresses that no host can have on a network, whatever the prefix. */
static const char *useless_kind(const struct config_address *address)
{
	static const uint8_t one[16] = {[15] = 1};

	if (address->family == AF_INET ? address->bytes[0] == 127
				       : !memcmp(address->bytes, one, 16))
		return "a loopback address";
	return plural_kind(address);
}

/* The first and the last address of a network belong to no host (RFC 3021, 6164 apart).
 */
static int check_host_part(const struct config_address *address, struct config_why *why)
{
	unsigned bits = address->family == AF_INET ? 32 : 128;
	const char *kind = useless_kind(address);

	if (kind)
		return refuse(why, "is %s; a host cannot have it", kind);
	if (address->prefix + 2 > bits)
		return 0;
	if (host_bits_are(address, 0))
		return refuse(why,
			      "is the network itself: the bits behind the prefix are all "
			      "zero; give the host's address in it");
	if (address->family == AF_INET && host_bits_are(address, 1))
		return refuse(why, "is the network's broadcast address; give the host's "
				   "address in it");
	return 0;
}

/* What an IPv6 address must not be where others reach us at it. */
static const char *odd_ipv6(const struct config_address *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (address->family != AF_INET6)
		return NULL;
	if (!memcmp(address->bytes, mapped, sizeof(mapped)))
		return "an IPv4 address written as IPv6; write it as IPv4";
	if (address->bytes[0] == 0xfe && address->bytes[1] >> 6 == 2)
		return "a link-local address, which says nothing without an interface; "
		       "give another one";
	return NULL;
}

/* The one address of many nodes: a host's, of no subnet. */
static int check_global_address(const struct config_address *address,
				struct config_why *why)
{
	unsigned bits = address->family == AF_INET ? 32 : 128;
	const char *kind = useless_kind(address);
	char host[CONFIG_ADDRESS_TEXT_MAX];

	if (kind)
		return refuse(why, "is %s; a host cannot have it", kind);
	if (odd_ipv6(address))
		return refuse(why, "is %s", odd_ipv6(address));
	if (address->prefix == bits)
		return 0;
	config_address_text(address, host);
	return refuse(
		why,
		"has the prefix of a subnet; a global network has single addresses: "
		"write %s/%u",
		host, bits);
}

int config_parse_address(const char *text, enum network_kind kind,
			 struct config_address *ret_address, struct config_why *why)
{
	struct config_address address = {.family =
						 strchr(text, ':') ? AF_INET6 : AF_INET};
	unsigned bits = address.family == AF_INET ? 32 : 128;
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	char host[INET6_ADDRSTRLEN];
	uint64_t prefix = bits;
	int err;

	if (len >= sizeof(host))
		return refuse(why, "is not an IPv4 or IPv6 address");
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(address.family, host, address.bytes) != 1)
		return refuse(why, "is not an IPv4 or IPv6 address");
	if (!slash && kind == NETWORK_KIND_LOCAL)
		return refuse(why, "has no prefix length; write it like %s",
			      bits == 32 ? "10.77.0.1/24" : "fd77::1/64");
	if (slash && (config_parse_uint(slash + 1, &prefix) || prefix > bits))
		return refuse(why, "has a bad prefix length; %s%u is allowed",
			      kind == NETWORK_KIND_LOCAL ? "0 to " : "", bits);
	address.prefix = (unsigned)prefix;
	err = kind == NETWORK_KIND_GLOBAL ? check_global_address(&address, why)
					  : check_host_part(&address, why);
	if (!err)
		*ret_address = address;
	return err;
}

int config_check_address(const char *text, enum network_kind kind, bool is_entry,
			 struct config_why *why)
{
	bool is_none = !strcmp(text, "none");
	struct config_address address;

	if (!is_none && strcmp(text, "dhcp"))
		return config_parse_address(text, kind, &address, why);
	if (kind == NETWORK_KIND_GLOBAL)
		return refuse(why,
			      "is nothing for a global network; give the address that "
			      "all its members have");
	if (is_none && is_entry)
		return refuse(why, "does not go into a list; write 'address: none'");
	return 0;
}

/* ---- addresses with a port ---- */

/* "192.0.2.1" and "7471" of "192.0.2.1:7471", without the brackets of IPv6. */
struct endpoint_parts {
	char host[INET6_ADDRSTRLEN];
	const char *port;
};

static int split_endpoint(const char *text, struct endpoint_parts *ret_parts,
			  struct config_why *why)
{
	const char *const example = "write it like 192.0.2.1:7471 or [fd77::1]:7471";
	bool has_bracket = *text == '[';
	const char *start = text + has_bracket;
	const char *end = strpbrk(start, has_bracket ? "]" : ":");
	const char *colon = end ? end + has_bracket : NULL;

	if (!end || *colon != ':')
		return refuse(why, "has no port; %s", example);
	if (!has_bracket && strchr(colon + 1, ':'))
		return refuse(why, "has more than one colon; %s", example);
	if (end == start || (size_t)(end - start) >= sizeof(ret_parts->host))
		return refuse(why, "does not begin with an IP address; %s", example);
	memcpy(ret_parts->host, start, (size_t)(end - start));
	ret_parts->host[end - start] = '\0';
	ret_parts->port = colon + 1;
	return 0;
}

static int parse_host(const char *host, int family, struct config_address *ret_address,
		      struct config_why *why)
{
	const char *kind;

	*ret_address = (struct config_address){.family = family};
	if (inet_pton(family, host, ret_address->bytes) != 1)
		return refuse(why, "does not begin with an IP address; names are not "
				   "looked up");
	kind = plural_kind(ret_address);
	if (kind)
		return refuse(why, "is %s; give that of one host", kind);
	kind = odd_ipv6(ret_address);
	return kind ? refuse(why, "is %s", kind) : 0;
}

static void build_endpoint(const struct config_address *address, uint16_t port,
			   struct config_endpoint *ret_endpoint)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)&ret_endpoint->address;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret_endpoint->address;
	char host[CONFIG_ADDRESS_TEXT_MAX];

	memset(ret_endpoint, 0, sizeof(*ret_endpoint)); /* the padding, too */
	config_address_text(address, host);
	if (address->family == AF_INET) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		memcpy(&in4->sin_addr, address->bytes, sizeof(in4->sin_addr));
		ret_endpoint->length = sizeof(*in4);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, address->bytes, sizeof(in6->sin6_addr));
		ret_endpoint->length = sizeof(*in6);
	}
	snprintf(ret_endpoint->text, sizeof(ret_endpoint->text),
		 address->family == AF_INET ? "%s:%u" : "[%s]:%u", host, port);
}

int config_parse_endpoint(const char *text, struct config_endpoint *ret_endpoint,
			  struct config_why *why)
{
	struct config_address address;
	struct endpoint_parts parts;
	uint64_t port;

	if (split_endpoint(text, &parts, why) ||
	    parse_host(parts.host, *text == '[' ? AF_INET6 : AF_INET, &address, why))
		return -EINVAL;
	if (config_parse_uint(parts.port, &port) || !port || port > UINT16_MAX)
		return refuse(why, "has a bad port; 1 to 65535 is allowed");
	build_endpoint(&address, (uint16_t)port, ret_endpoint);
	return 0;
}

struct config_address config_endpoint_address(const struct config_endpoint *endpoint)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)&endpoint->address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&endpoint->address;
	struct config_address address = {.family = endpoint->address.ss_family};

	address.prefix = address.family == AF_INET ? 32 : 128;
	if (address.family == AF_INET)
		memcpy(address.bytes, &in4->sin_addr, sizeof(in4->sin_addr));
	else
		memcpy(address.bytes, &in6->sin6_addr, sizeof(in6->sin6_addr));
	return address;
}

int config_endpoint_parse(const char *text, struct config_endpoint *ret_endpoint,
			  const char **ret_why)
{
	static struct config_why why;

	if (ret_why)
		*ret_why = why.text;
	return config_parse_endpoint(text, ret_endpoint, &why);
}

int config_check_endpoint(const char *text, struct config_why *why)
{
	struct config_endpoint endpoint;

	return config_parse_endpoint(text, &endpoint, why);
}

/* An OSPF area is 32 bits, written as a number or like an IPv4 address. */
int config_parse_area(const char *text, uint32_t *ret_area, struct config_why *why)
{
	const char *const forms = "write it like 0.0.0.1, or 1";
	struct in_addr dotted;
	uint64_t area;
	int err = 0;

	if (strchr(text, '.'))
		area = inet_pton(AF_INET, text, &dotted) == 1 ? ntohl(dotted.s_addr)
							      : (uint64_t)UINT32_MAX + 1;
	else
		err = config_parse_uint(text, &area);
	if (err == -EINVAL)
		return refuse(why, "is not an OSPF area; %s", forms);
	if (err || area > UINT32_MAX)
		return refuse(why, "is out of range; 0.0.0.1 to 255.255.255.255, or 1 to "
				   "4294967295, is allowed");
	if (!area)
		return refuse(why, "is the area of the outside, which borders lead to; "
				   "give the shared-memory networks another one");
	*ret_area = (uint32_t)area;
	return 0;
}

int config_check_area(const char *text, struct config_why *why)
{
	uint32_t area;

	return config_parse_area(text, &area, why);
}

int config_check_argument(const char *text, struct config_why *why)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			return refuse(why, "holds more than printable ASCII");
	}
	return 0;
}
