#include "console/sql/display.h"

#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wchar.h>

size_t utf8_next(struct slice s, uint32_t *ret_char)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len;
	uint32_t c;

	if (s.n == 0)
		return 0;
	if (s.p[0] < 0x80) {
		*ret_char = s.p[0];
		return 1;
	}
	if (s.p[0] >= 0xf0)
		len = 4, c = s.p[0] & 0x0f;
	else if (s.p[0] >= 0xe0)
		len = 3, c = s.p[0] & 0x0f;
	else
		len = 2, c = s.p[0] & 0x1f;
	if (s.p[0] < 0xc0 || s.p[0] > 0xf7 || len > s.n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s.p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s.p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret_char = c;
	return len;
}

void utf8_repair(struct buf *b, struct slice s)
{
	while (s.n > 0) {
		size_t sound = 0, len;
		uint32_t c;

		while ((len = utf8_next((struct slice){s.p + sound, s.n - sound}, &c)) > 0)
			sound += len;
		buf_append(b, s.p, sound);
		s.p += sound;
		s.n -= sound;
		if (s.n > 0) {
			buf_append(b, "\xef\xbf\xbd", 3);
			s.p++;
			s.n--;
		}
	}
}

static locale_t utf8_locale;
static pthread_once_t utf8_locale_once = PTHREAD_ONCE_INIT;

static void utf8_locale_make(void)
{
	utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
}

/* wcwidth asks the thread's locale; returns the one to go back to. */
static locale_t enter_utf8(void)
{
	pthread_once(&utf8_locale_once, utf8_locale_make);
	return utf8_locale ? uselocale(utf8_locale) : NULL;
}

static void leave_utf8(locale_t before)
{
	if (before)
		uselocale(before);
}

static bool turns_direction(uint32_t c)
{
	return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
	       c == 0x200f;
}

struct glyph {
	char text[16]; /* what to write */
	size_t text_n;
	size_t columns;
	size_t eaten; /* bytes of the input */
};

static void glyph_escape(struct glyph *g, const char *fmt, uint32_t c)
{
	g->text_n = (size_t)snprintf(g->text, sizeof g->text, fmt, c);
	g->columns = g->text_n;
}

static void glyph_next(struct slice s, struct glyph *ret_glyph)
{
	struct glyph *g = ret_glyph;
	uint32_t c = 0;
	size_t len = utf8_next(s, &c);
	int width;

	g->eaten = len ? len : 1;
	if (len == 0) {
		glyph_escape(g, "\\x%02x", s.p[0]);
	} else if (c == '\n' || c == '\t' || c == '\r') {
		glyph_escape(g, c == '\n' ? "\\n%.0u" : c == '\t' ? "\\t%.0u" : "\\r%.0u", 0);
	} else if (c < 0x20 || c == 0x7f) {
		glyph_escape(g, "\\x%02x", c);
	} else if (c < 0x7f) {
		g->text[0] = (char)c;
		g->text_n = g->columns = 1;
	} else if (turns_direction(c) || (width = wcwidth((wchar_t)c)) < 0) {
		glyph_escape(g, c > 0xffff ? "\\U%08x" : "\\u%04x", c);
	} else {
		memcpy(g->text, s.p, len);
		g->text_n = len;
		g->columns = (size_t)width;
	}
}

size_t display_width(struct slice s)
{
	locale_t before = enter_utf8();
	size_t columns = 0;
	struct glyph g;

	while (s.n > 0) {
		glyph_next(s, &g);
		columns += g.columns;
		s.p += g.eaten;
		s.n -= g.eaten;
	}
	leave_utf8(before);
	return columns;
}

/* Do the rest's columns pass `left`? Looks no further than it must. */
static bool wider_than(struct slice s, size_t left)
{
	size_t columns = 0;
	struct glyph g;

	while (s.n > 0) {
		glyph_next(s, &g);
		columns += g.columns;
		if (columns > left)
			return true;
		s.p += g.eaten;
		s.n -= g.eaten;
	}
	return false;
}

size_t display_put(FILE *f, struct slice s, size_t columns_max)
{
	locale_t before = enter_utf8();
	bool cut = wider_than(s, columns_max);
	size_t room = cut && columns_max > 0 ? columns_max - 1 : columns_max;
	size_t columns = 0;
	struct glyph g;

	while (s.n > 0) {
		glyph_next(s, &g);
		if (columns + g.columns > room)
			break;
		fwrite(g.text, 1, g.text_n, f);
		columns += g.columns;
		s.p += g.eaten;
		s.n -= g.eaten;
	}
	if (cut && columns_max > 0) {
		fputs("…", f);
		columns++;
	}
	leave_utf8(before);
	return columns;
}
