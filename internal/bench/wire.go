package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"time"
)

// wire is one kept connection that posts bodies: HTTP/1.1 written by hand, a
// request in one write. The client of net/http costs this machine about as much per
// request as the gateway, and who measures wants to measure the gateway.
type wire struct {
	host, path, key string
	conn            net.Conn
	in              *bufio.Reader
	out             []byte
}

// post sends a body and returns the status of the answer. After an error the next
// one takes a new connection.
func (w *wire) post(body []byte) (status int, err error) {
	if w.conn == nil {
		if w.conn, err = net.Dial("tcp", w.host); err != nil {
			return 0, fmt.Errorf("connect: %w", err)
		}
		w.in = bufio.NewReader(w.conn)
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := w.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, fmt.Errorf("set deadline: %w", err)
	}
	w.out = append(w.out[:0], "POST "...)
	w.out = append(w.out, w.path...)
	w.out = append(w.out, " HTTP/1.1\r\nHost: "...)
	w.out = append(w.out, w.host...)
	w.out = append(w.out, "\r\nContent-Type: application/json\r\nX-API-Key: "...)
	w.out = append(w.out, w.key...)
	w.out = append(w.out, "\r\nContent-Length: "...)
	w.out = strconv.AppendInt(w.out, int64(len(body)), 10)
	w.out = append(w.out, "\r\n\r\n"...)
	w.out = append(w.out, body...)
	if _, err := w.conn.Write(w.out); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	return w.answer()
}

func (w *wire) answer() (int, error) {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("read answer: %w", err)
	}
	if len(line) < 12 || string(line[:9]) != "HTTP/1.1 " {
		return 0, fmt.Errorf("read answer: status line %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, fmt.Errorf("read answer: %w", err)
	}
	length := -1
	for {
		if line, err = w.in.ReadSlice('\n'); err != nil {
			return 0, fmt.Errorf("read answer: %w", err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, fmt.Errorf("read answer: %w", err)
			}
		}
	}
	if length < 0 {
		return 0, fmt.Errorf("read answer: no Content-Length")
	}
	if _, err := w.in.Discard(length); err != nil {
		return 0, fmt.Errorf("read answer: %w", err)
	}
	return status, nil
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
	w.conn = nil
}
