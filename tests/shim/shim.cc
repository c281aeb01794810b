/*
 * The GoogleTest side of shim.h, and main() of every unit test.
 *
 * The only C++ in the tree apart from the header checks; nothing of GoogleTest
 * shows in shim.h, so that it can be exchanged here.
 */
#include "shim.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>

namespace
{

constexpr int EXIT_SKIPPED = 77;

/* Constructors run before the static objects of this file may be used. */
shim_test *first_test;
shim_test **next_test = nullptr;

using fd_table = std::map<int, std::string>;

std::string fd_target(int fd)
{
	char path[64];
	char target[PATH_MAX];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t size = readlink(path, target, sizeof(target));
	return size < 0 ? "?" : std::string(target, (size_t)size);
}

fd_table open_fds()
{
	fd_table fds;
	DIR *dir = opendir("/proc/self/fd");

	if (!dir) {
		ADD_FAILURE() << "/proc/self/fd: " << strerror(errno);
		return fds;
	}
	while (const dirent *entry = readdir(dir)) {
		if (entry->d_name[0] == '.')
			continue;
		int fd = atoi(entry->d_name);
		if (fd != dirfd(dir))
			fds[fd] = fd_target(fd);
	}
	closedir(dir);
	return fds;
}

void compare_fds(const fd_table &before, const fd_table &after, const shim_test &test)
{
	for (const auto &[fd, target] : after) {
		auto old = before.find(fd);
		if (old == before.end())
			ADD_FAILURE_AT(test.file, test.line)
				<< "leaked fd " << fd << ": " << target;
		else if (old->second != target)
			ADD_FAILURE_AT(test.file, test.line)
				<< "fd " << fd << " was " << old->second << ", is now "
				<< target;
	}
	for (const auto &[fd, target] : before)
		if (after.find(fd) == after.end())
			ADD_FAILURE_AT(test.file, test.line)
				<< "closed fd " << fd
				<< ", which it did not open: " << target;
}

class Fixture : public testing::Test
{
      public:
	explicit Fixture(const shim_test *test) : test_(test)
	{
	}

	void SetUp() override
	{
		before_ = open_fds();
	}

	void TestBody() override
	{
		test_->run();
	}

	void TearDown() override
	{
		compare_fds(before_, open_fds(), *test_);
	}

      private:
	const shim_test *test_;
	fd_table before_;
};

void register_with_gtest(const shim_test *test)
{
	testing::RegisterTest(test->suite, test->name, nullptr, nullptr, test->file,
			      test->line,
			      [test]() -> Fixture * { return new Fixture(test); });
}

std::string quoted(const char *string)
{
	return string ? "\"" + std::string(string) + "\"" : "NULL";
}

std::string hex_row(const unsigned char *bytes, size_t from, size_t to)
{
	std::string row;
	char byte[4];

	for (size_t i = from; i < to; i++) {
		snprintf(byte, sizeof(byte), " %02x", bytes[i]);
		row += byte;
	}
	return row;
}

template <typename T>
bool check_equal(T actual, T expected, const char *text, const char *file, int line)
{
	if (actual == expected)
		return true;
	ADD_FAILURE_AT(file, line)
		<< text << "\n  is       " << actual << std::hex << " (0x" << actual
		<< ")" << std::dec << "\n  expected " << expected << std::hex << " (0x"
		<< expected << ")";
	return false;
}

bool all_skipped()
{
	const testing::UnitTest *run = testing::UnitTest::GetInstance();

	return run->skipped_test_count() > 0 && run->successful_test_count() == 0;
}

} // namespace

void shim_register(struct shim_test *test)
{
	if (!next_test)
		next_test = &first_test;
	*next_test = test;
	next_test = &test->next;
}

void shim_fail(const char *condition, const char *file, int line)
{
	ADD_FAILURE_AT(file, line) << "not true: " << condition;
}

bool shim_check_int(long long actual, long long expected, const char *text,
		    const char *file, int line)
{
	return check_equal(actual, expected, text, file, line);
}

bool shim_check_u64(uint64_t actual, uint64_t expected, const char *text,
		    const char *file, int line)
{
	return check_equal(actual, expected, text, file, line);
}

bool shim_check_str(const char *actual, const char *expected, const char *text,
		    const char *file, int line)
{
	if (actual && expected ? strcmp(actual, expected) == 0 : actual == expected)
		return true;
	ADD_FAILURE_AT(file, line) << text << "\n  is       " << quoted(actual)
				   << "\n  expected " << quoted(expected);
	return false;
}

bool shim_check_contains(const char *actual, const char *part, const char *text,
			 const char *file, int line)
{
	if (strstr(actual, part))
		return true;
	ADD_FAILURE_AT(file, line)
		<< text << "\n  is    " << quoted(actual) << "\n  lacks " << quoted(part);
	return false;
}

bool shim_check_mem(const void *actual, const void *expected, size_t size,
		    const char *text, const char *file, int line)
{
	auto is = static_cast<const unsigned char *>(actual);
	auto want = static_cast<const unsigned char *>(expected);
	size_t at = (size_t)(std::mismatch(is, is + size, want).first - is);

	if (at == size)
		return true;
	size_t from = at & ~(size_t)15;
	size_t to = std::min(from + 16, size);
	ADD_FAILURE_AT(file, line)
		<< text << ": byte " << at << " of " << size << " differs; from byte "
		<< from << "\n  is      " << hex_row(is, from, to) << "\n  expected"
		<< hex_row(want, from, to);
	return false;
}

static void skip(const char *reason, const char *file, int line)
{
	GTEST_SKIP() << file << ":" << line << ": " << reason;
}

void shim_skip(const char *reason, const char *file, int line)
{
	printf("SKIP: %s\n", reason);
	skip(reason, file, line);
}

bool test_failed(void)
{
	return testing::Test::HasFailure();
}

int main(int argc, char **argv)
{
	testing::InitGoogleTest(&argc, argv);
	for (const shim_test *test = first_test; test; test = test->next)
		register_with_gtest(test);
	if (RUN_ALL_TESTS() != 0)
		return EXIT_FAILURE;
	return all_skipped() ? EXIT_SKIPPED : EXIT_SUCCESS;
}
