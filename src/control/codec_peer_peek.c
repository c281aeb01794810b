/* See codec_peer.h: the versions, which are read before anything else is. */
#include "control/codec_peer.h"

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

/* Past a field's value. */
static bool skip_value(const uint8_t **at, const uint8_t *end, uint64_t tag)
{
	uint64_t size = 0;

	switch (tag & 7) {
	case 0:
		return read_varint(at, end, &size);
	case 1:
		size = 8;
		break;
	case 2:
		if (!read_varint(at, end, &size))
			return false;
		break;
	case 5:
		size = 4;
		break;
	default:
		return false;
	}
	if (size > (uint64_t)(end - *at))
		return false;
	*at += size;
	return true;
}

/* 0: it says none. */
static uint32_t find_min(const uint8_t *at, const uint8_t *end, unsigned field)
{
	uint64_t tag, min;

	while (at < end && read_varint(&at, end, &tag)) {
		if (tag == (field << 3 | 0))
			return read_varint(&at, end, &min) && min <= UINT32_MAX
				       ? (uint32_t)min
				       : 0;
		if (!skip_value(&at, end, tag))
			break;
	}
	return 0;
}

bool codec_peer_peek(const uint8_t *bytes, size_t length,
		     enum peer_message_type *ret_type, uint32_t *ret_version,
		     uint32_t *ret_min)
{
	const uint8_t *at = bytes, *end = bytes + length;
	uint64_t tag, size, version;
	bool is_hello;

	if (!read_varint(&at, end, &tag))
		return false;
	is_hello = tag == (1 << 3 | 2);
	if ((!is_hello && tag != (12 << 3 | 2)) || !read_varint(&at, end, &size) ||
	    size != (uint64_t)(end - at) || !read_varint(&at, end, &tag) ||
	    tag != (1 << 3 | 0) || !read_varint(&at, end, &version) ||
	    version > UINT32_MAX)
		return false;
	*ret_type = is_hello ? PEER_MESSAGE_HELLO : PEER_MESSAGE_LOOK;
	*ret_version = (uint32_t)version;
	*ret_min = find_min(at, end, is_hello ? 7 : 5);
	return true;
}
