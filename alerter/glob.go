package alerter

import "unicode/utf8"

// globMatch reports whether name matches pattern: `*` stands for any run of
// characters (also none), `?` for exactly one, and every other character for
// itself; a backslash takes the special meaning from the next one. An empty
// pattern matches every name. Case counts. There are no classes and no
// separators, since names of devices and metrics may hold any of "[]/.".
//
// It runs in O(len(pattern) * len(name)) at worst: only the last `*` is ever
// tried again, so no pattern of a tenant can make it explode.
func globMatch(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	p, n := 0, 0
	star, retry := -1, 0 // the pattern after the last `*`, and where in name it was tried
	for n < len(name) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				p++
				star, retry = p, n
				continue
			}
			if width, ok := matchOne(pattern, p, name, n); ok {
				p += width
				_, size := utf8.DecodeRuneInString(name[n:])
				n += size
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(name[retry:])
		retry += size
		p, n = star, retry
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne compares one character and returns the width of the pattern's part.
func matchOne(pattern string, p int, name string, n int) (width int, ok bool) {
	if pattern[p] == '?' {
		return 1, true
	}
	escape := 0
	if pattern[p] == '\\' && p+1 < len(pattern) {
		escape = 1
	}
	want, width := utf8.DecodeRuneInString(pattern[p+escape:])
	got, size := utf8.DecodeRuneInString(name[n:])
	// Invalid UTF-8 decodes to one rune whatever the byte: compare widths and bytes.
	same := want == got && width == size
	if same && want == utf8.RuneError && width == 1 {
		same = pattern[p+escape] == name[n]
	}
	return escape + width, same
}
