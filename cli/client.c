/*
 * <shmnet/ctl.h>: the connection, and replies as JSON.
 *
 * The only file of cli/ that sees protobuf. It knows no verb and no field: a
 * verb is the name of a body field of Request and Reply, and a reply becomes
 * JSON by a walk over its descriptor. What is added to ctl.proto appears in the
 * JSON without a line here.
 */
#include <shmnet/ctl.h>

#include "base/clock.h"

#include "ctl.pb-c.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FRAME_HEADER 4

struct shmnet_ctl {
	int fd;
	unsigned timeout_ms;
	uint64_t deadline_ns; /* of the call under way */
	json_t *error;	      /* the node's, or NULL */
};

/* ---- JSON ---- */

static json_t *message_to_json(const ProtobufCMessage *message);

/* A peer's strings are not ours: what is no UTF-8 loses its high bytes. */
static json_t *string_to_json(const char *string)
{
	json_t *value = json_string(string);
	char *copy;

	if (value)
		return value;
	copy = strdup(string);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++) {
		if (!isascii((unsigned char)*c))
			*c = '?';
	}
	value = json_string(copy);
	free(copy);
	return value;
}

/* DROP_RING_FULL is "ring-full"; a value of a newer node is its number. */
static json_t *enum_to_json(const ProtobufCEnumDescriptor *type, int number)
{
	const ProtobufCEnumValue *value =
		protobuf_c_enum_descriptor_get_value(type, number);
	const char *word;
	char name[64];
	size_t i;

	if (!value)
		return json_sprintf("unknown-%d", number);
	word = strchr(value->name, '_');
	word = word ? word + 1 : value->name;
	for (i = 0; word[i] && i < sizeof(name) - 1; i++)
		name[i] = (char)(word[i] == '_' ? '-' : tolower((unsigned char)word[i]));
	name[i] = '\0';
	return json_string(name);
}

/* jansson's integers are signed; no counter gets there. */
static json_t *u64_to_json(uint64_t number)
{
	return json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number);
}

static json_t *value_to_json(const ProtobufCFieldDescriptor *field, const void *value)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_integer(*(const int32_t *)value);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)value);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_integer(*(const int64_t *)value);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return u64_to_json(*(const uint64_t *)value);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_real(*(const float *)value);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_real(*(const double *)value);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)value);
	case PROTOBUF_C_TYPE_ENUM:
		return enum_to_json(field->descriptor, *(const int *)value);
	case PROTOBUF_C_TYPE_STRING:
		return string_to_json(*(char *const *)value);
	case PROTOBUF_C_TYPE_MESSAGE:
		return message_to_json(*(ProtobufCMessage *const *)value);
	case PROTOBUF_C_TYPE_BYTES:
		return NULL; /* ctl.proto has none: it would need a notation */
	}
	return NULL;
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return sizeof(uint32_t);
	}
}

static json_t *list_to_json(const ProtobufCFieldDescriptor *field, const char *values,
			    size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *value = value_to_json(field, values + i * value_size(field));

		if (json_array_append_new(array, value) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* Proto2's ways to be absent: a null pointer, a flag, another body of a oneof. */
static bool field_is_set(const ProtobufCFieldDescriptor *field, const char *message)
{
	const char *quantifier = message + field->quantifier_offset;

	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)quantifier == field->id;
	if (field->label != PROTOBUF_C_LABEL_OPTIONAL)
		return true;
	if (field->type == PROTOBUF_C_TYPE_STRING ||
	    field->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void *const *)(message + field->offset) != NULL;
	return *(const protobuf_c_boolean *)quantifier;
}

static json_t *field_to_json(const ProtobufCFieldDescriptor *field, const char *message)
{
	const char *member = message + field->offset;

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return list_to_json(
			field, *(char *const *)member,
			*(const size_t *)(message + field->quantifier_offset));
	return value_to_json(field, member);
}

static json_t *message_to_json(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	const char *bytes = (const char *)message;
	json_t *object = json_object();

	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];

		if (!field_is_set(field, bytes))
			continue;
		if (json_object_set_new(object, field->name,
					field_to_json(field, bytes)) < 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

/* ---- connection ---- */

static int address_set(struct sockaddr_un *address, const char *path)
{
	size_t length = strlen(path);

	if (length >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, length + 1);
	return 0;
}

/* A full backlog makes connect wait; SO_SNDTIMEO bounds that. */
static int fd_connect(int fd, const struct sockaddr_un *address, unsigned timeout_ms)
{
	struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000L};

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return 0;
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

int shmnet_ctl_open(const char *path, unsigned timeout_ms, struct shmnet_ctl **ret_ctl)
{
	struct sockaddr_un address;
	struct shmnet_ctl *ctl;
	int rc;

	rc = address_set(&address, path);
	if (rc)
		return rc;
	ctl = calloc(1, sizeof(*ctl));
	if (!ctl)
		return -ENOMEM;
	ctl->timeout_ms = timeout_ms;
	ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = ctl->fd < 0 ? -errno : fd_connect(ctl->fd, &address, timeout_ms);
	if (rc) {
		shmnet_ctl_close(ctl);
		return rc;
	}
	*ret_ctl = ctl;
	return 0;
}

void shmnet_ctl_close(struct shmnet_ctl *ctl)
{
	if (!ctl)
		return;
	if (ctl->fd >= 0)
		close(ctl->fd);
	json_decref(ctl->error);
	free(ctl);
}

static int fd_wait(const struct shmnet_ctl *ctl, short events)
{
	struct pollfd wait = {ctl->fd, events, 0};
	uint64_t now = clock_now_ns();
	uint64_t left = now < ctl->deadline_ns ? ctl->deadline_ns - now : 0;
	int n = poll(&wait, 1, (int)((left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC));

	if (n == 0)
		return -ETIMEDOUT;
	return n < 0 && errno != EINTR ? -errno : 0;
}

/*
 * -EPIPE is no error yet: a node that refuses a client says why and hangs up
 * before it has read the request.
 */
static int send_all(const struct shmnet_ctl *ctl, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(ctl->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		int rc = n < 0 ? -errno : 0;

		if (rc == -EAGAIN)
			rc = fd_wait(ctl, POLLOUT);
		else if (rc == -EPIPE || rc == -ECONNRESET)
			return 0;
		if (rc && rc != -EINTR)
			return rc;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

static int receive_all(const struct shmnet_ctl *ctl, uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = recv(ctl->fd, data, size, MSG_DONTWAIT);
		int rc = n < 0 ? -errno : 0;

		if (n == 0)
			return -ECONNRESET;
		if (rc == -EAGAIN)
			rc = fd_wait(ctl, POLLIN);
		if (rc && rc != -EINTR)
			return rc;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

/* ---- call ---- */

/* A parameter. Strings stay the JSON's. */
static int field_set(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
		     const json_t *value)
{
	char *member = (char *)message + field->offset;

	if (field->type == PROTOBUF_C_TYPE_STRING && json_is_string(value)) {
		*(const char **)(void *)member = json_string_value(value);
		return 0;
	}
	if (field->type == PROTOBUF_C_TYPE_BOOL && json_is_boolean(value)) {
		*(protobuf_c_boolean *)member = json_is_true(value);
		*(protobuf_c_boolean *)((char *)message + field->quantifier_offset) = 1;
		return 0;
	}
	if (field->type != PROTOBUF_C_TYPE_UINT32 || !json_is_integer(value) ||
	    json_integer_value(value) < 0 || json_integer_value(value) > UINT32_MAX)
		return -EINVAL;
	*(uint32_t *)(void *)member = (uint32_t)json_integer_value(value);
	if (field->label == PROTOBUF_C_LABEL_OPTIONAL)
		*(protobuf_c_boolean *)((char *)message + field->quantifier_offset) = 1;
	return 0;
}

static int body_set(ProtobufCMessage *body, const json_t *parameters)
{
	const char *key;
	json_t *value;
	int rc = 0;

	json_object_foreach((json_t *)parameters, key, value)
	{
		const ProtobufCFieldDescriptor *field =
			protobuf_c_message_descriptor_get_field_by_name(body->descriptor,
									key);

		rc = field ? field_set(body, field, value) : -EINVAL;
		if (rc)
			break;
	}
	return rc ? rc : protobuf_c_message_check(body) ? 0 : -EINVAL;
}

static int frame_send(const struct shmnet_ctl *ctl, const Shmnet__Ctl__Request *request)
{
	size_t size = shmnet__ctl__request__get_packed_size(request);
	uint8_t *frame;
	int rc;

	if (size > SHMNET_CTL_REQUEST_MAX)
		return -EMSGSIZE;
	frame = malloc(FRAME_HEADER + size);
	if (!frame)
		return -ENOMEM;
	for (unsigned i = 0; i < FRAME_HEADER; i++)
		frame[i] = (uint8_t)(size >> 8 * i);
	shmnet__ctl__request__pack(request, frame + FRAME_HEADER);
	rc = send_all(ctl, frame, FRAME_HEADER + size);
	free(frame);
	return rc;
}

static int request_send(const struct shmnet_ctl *ctl,
			const ProtobufCFieldDescriptor *verb, const json_t *parameters)
{
	const ProtobufCMessageDescriptor *type = verb->descriptor;
	Shmnet__Ctl__Request request = SHMNET__CTL__REQUEST__INIT;
	ProtobufCMessage *body = malloc(type->sizeof_message);
	int rc;

	if (!body)
		return -ENOMEM;
	protobuf_c_message_init(type, body);
	request.schema = SHMNET_CTL_SCHEMA;
	request.body_case = (Shmnet__Ctl__Request__BodyCase)verb->id;
	*(void **)((char *)&request + verb->offset) = body;
	rc = body_set(body, parameters);
	if (!rc)
		rc = frame_send(ctl, &request);
	free(body);
	return rc;
}

static int reply_receive(const struct shmnet_ctl *ctl, Shmnet__Ctl__Reply **ret_reply)
{
	uint8_t header[FRAME_HEADER];
	uint8_t *data;
	size_t size;
	int rc;

	rc = receive_all(ctl, header, sizeof(header));
	if (rc)
		return rc;
	size = (size_t)header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16 |
	       (size_t)header[3] << 24;
	if (size > SHMNET_CTL_REPLY_MAX)
		return -EPROTO;
	data = malloc(size ? size : 1);
	if (!data)
		return -ENOMEM;
	rc = receive_all(ctl, data, size);
	if (!rc) {
		*ret_reply = shmnet__ctl__reply__unpack(NULL, size, data);
		rc = *ret_reply ? 0 : -EPROTO;
	}
	free(data);
	return rc;
}

/* The body of that name behind "schema", or the node's error. */
static int reply_open(struct shmnet_ctl *ctl, const json_t *reply, const char *verb,
		      json_t **ret_reply)
{
	json_t *error = json_object_get(reply, "error");
	json_t *schema = json_object_get(reply, "schema");
	json_t *body = json_object_get(reply, verb);
	json_t *document;

	if (error) {
		ctl->error = json_incref(error);
		return -EREMOTEIO;
	}
	if (!body || json_integer_value(schema) != SHMNET_CTL_SCHEMA)
		return -EPROTO;
	document = json_pack("{s:O}", "schema", schema);
	if (!document || json_object_update(document, body) < 0) {
		json_decref(document);
		return -ENOMEM;
	}
	*ret_reply = document;
	return 0;
}

int shmnet_ctl_call(struct shmnet_ctl *ctl, const char *verb, struct json_t **ret_reply)
{
	return shmnet_ctl_ask(ctl, verb, NULL, ret_reply);
}

int shmnet_ctl_ask(struct shmnet_ctl *ctl, const char *verb, const struct json_t *request,
		   struct json_t **ret_reply)
{
	const ProtobufCFieldDescriptor *field;
	Shmnet__Ctl__Reply *reply;
	json_t *object;
	int rc;

	field = protobuf_c_message_descriptor_get_field_by_name(
		&shmnet__ctl__request__descriptor, verb);
	if (!field || !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return -EINVAL;
	json_decref(ctl->error);
	ctl->error = NULL;
	ctl->deadline_ns = clock_now_ns() + ctl->timeout_ms * NSEC_PER_MSEC;
	rc = request_send(ctl, field, request);
	if (!rc)
		rc = reply_receive(ctl, &reply);
	if (rc)
		return rc;
	object = message_to_json(&reply->base);
	shmnet__ctl__reply__free_unpacked(reply, NULL);
	if (!object)
		return -ENOMEM;
	rc = reply_open(ctl, object, verb, ret_reply);
	json_decref(object);
	return rc;
}

static const char *error_word(const struct shmnet_ctl *ctl, const char *key)
{
	const char *word = json_string_value(json_object_get(ctl->error, key));

	return word ? word : "";
}

const char *shmnet_ctl_error_code(const struct shmnet_ctl *ctl)
{
	return error_word(ctl, "code");
}

const char *shmnet_ctl_error_message(const struct shmnet_ctl *ctl)
{
	return error_word(ctl, "message");
}
