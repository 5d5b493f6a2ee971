package payload

// Instants outside of these can't be written as RFC 3339 and back.
const (
	minTS       = 0                  // 1970-01-01
	maxTS       = 253402300799999999 // 9999-12-31T23:59:59.999999Z
	maxTSMillis = maxTS / 1000
)

// parseRFC3339 reads what time.Parse(time.RFC3339Nano) accepts under the strict
// rules of time.Time.UnmarshalJSON, without allocating, as unix microseconds;
// further digits are cut off. A leap second is refused as time.Parse does.
func parseRFC3339(b []byte) (int64, bool) {
	if len(b) < len("2006-01-02T15:04:05Z") || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	var bad bool
	two := func(i int) int64 {
		hi, lo := b[i]-'0', b[i+1]-'0'
		bad = bad || hi > 9 || lo > 9
		return int64(hi)*10 + int64(lo)
	}
	year := two(0)*100 + two(2)
	month, day, hour, minute, sec := two(5), two(8), two(11), two(14), two(17)
	if bad || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || sec > 59 {
		return 0, false
	}
	i, micros := 19, int64(0)
	if b[i] == '.' {
		start := i + 1
		for i = start; i < len(b) && b[i]-'0' <= 9; i++ {
			if i-start < 6 {
				micros = micros*10 + int64(b[i]-'0')
			}
		}
		if i == start || i == len(b) {
			return 0, false
		}
		for n := i - start; n < 6; n++ {
			micros *= 10
		}
	}
	var offset int64 // seconds east
	switch {
	case b[i] == 'Z' && i+1 == len(b):
	case (b[i] == '+' || b[i] == '-') && i+6 == len(b) && b[i+3] == ':':
		h, m := two(i+1), two(i+4)
		if bad || h > 23 || m > 59 {
			return 0, false
		}
		if offset = h*3600 + m*60; b[i] == '-' {
			offset = -offset
		}
	default:
		return 0, false
	}
	secs := daysSinceEpoch(year, month, day)*86400 + hour*3600 + minute*60 + sec - offset
	return secs*1e6 + micros, true
}

func daysIn(year, month int64) int64 {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSinceEpoch is days_from_civil of Howard Hinnant, "chrono-Compatible
// Low-Level Date Algorithms": days of the proleptic Gregorian calendar since 1970-01-01.
func daysSinceEpoch(y, m, d int64) int64 {
	if m <= 2 {
		y--
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	mp := (m + 9) % 12
	doy := (153*mp+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

// parseMillis reads an integer of unix milliseconds: digits only, so that neither
// seconds with a fraction nor 1.7e12 is taken for something else.
func parseMillis(raw []byte) (int64, bool) {
	neg := len(raw) > 0 && raw[0] == '-'
	if neg {
		raw = raw[1:]
	}
	if len(raw) == 0 || len(raw) > 15 {
		return 0, false
	}
	var n int64
	for _, c := range raw {
		if c -= '0'; c > 9 {
			return 0, false
		} else {
			n = n*10 + int64(c)
		}
	}
	if n > maxTSMillis {
		return 0, false
	}
	if neg {
		n = -n
	}
	return n * 1000, true
}
