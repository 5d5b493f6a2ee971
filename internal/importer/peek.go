package importer

import (
	"bufio"
	"bytes"
	"io"
)

// peeker looks at the first line to find the separator.
type peeker struct{ *bufio.Reader }

func newPeeker(r io.Reader) peeker { return peeker{bufio.NewReaderSize(r, 64<<10)} }

func (p peeker) comma() rune {
	head, _ := p.Peek(4096) // a short file is no error
	if i := bytes.IndexByte(head, '\n'); i >= 0 {
		head = head[:i]
	}
	best, most := ',', 0
	for _, c := range []byte{',', ';', '\t', '|'} {
		if n := bytes.Count(head, []byte{c}); n > most {
			best, most = rune(c), n
		}
	}
	return best
}
