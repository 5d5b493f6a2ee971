package payload

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	maxNameChars = 128
	maxUnitChars = 32
	maxTags      = 16
	maxTagKey    = 64
	maxTagValue  = 256
	// maxNameBytes bounds the work on a name before its characters are counted:
	// NFC never makes 128 characters out of more than this.
	maxNameBytes = 4096
)

// NormaliseName gives the form of a device or metric name from which identifiers
// are derived: trimmed, NFC, each run of inner white space one "_". Applying it
// twice changes nothing. The second result says why a name is refused.
func NormaliseName(s string) (string, string) { return normalise(s, maxNameChars, true) }

func normalise(s string, maxChars int, underscores bool) (string, string) {
	if plainASCII(s) && len(s) <= maxChars {
		return s, ""
	}
	if len(s) > maxNameBytes {
		return "", "more than that"
	}
	if !utf8.ValidString(s) {
		return "", "invalid UTF-8"
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return "", "a control character"
		}
	}
	s = norm.NFC.String(strings.TrimSpace(s))
	if underscores {
		s = strings.Join(strings.FieldsFunc(s, unicode.IsSpace), "_")
	}
	switch n := utf8.RuneCountInString(s); {
	case n == 0:
		return "", "nothing but white space"
	case n > maxChars:
		return "", "more than that"
	}
	return s, ""
}

// plainASCII: not empty, printable, without a space: already in its normal form.
func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return len(s) > 0
}

// MaxTags is how many tags an object may have.
const MaxTags = maxTags

// TagFault says what is wrong with a tag, empty = nothing.
func TagFault(key, value string) string {
	if utf8.ValidString(key+value) && validTag(key, 1, maxTagKey) && validTag(value, 0, maxTagValue) {
		return ""
	}
	return fmt.Sprintf("expected a key of 1 to %d bytes and a value of up to %d, in UTF-8 without control characters", maxTagKey, maxTagValue)
}

// validTag checks key or value; tags are kept as sent.
func validTag(s string, low, high int) bool {
	if len(s) < low || len(s) > high {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// CanonicalUnit gives the one spelling of a unit. Spellings that are not in the
// table stay as they are: a unit is a label, and values are never converted.
func CanonicalUnit(s string) (string, string) {
	if strings.TrimSpace(s) == "" {
		return "", ""
	}
	u, why := normalise(s, maxUnitChars, false)
	if why != "" {
		return "", why
	}
	if c, ok := unitSpellings[u]; ok {
		return c, ""
	}
	if c, ok := unitWords[strings.ToLower(u)]; ok {
		return c, ""
	}
	return u, ""
}

// unitSpellings are matched as written: case tells mW from MW.
var unitSpellings = map[string]string{
	"°C": "degC", "℃": "degC", "ºC": "degC", "° C": "degC", "degC": "degC", "deg C": "degC", "Cel": "degC", "C°": "degC",
	"°F": "degF", "℉": "degF", "ºF": "degF", "degF": "degF", "deg F": "degF", "[degF]": "degF",
	"°": "deg", "º": "deg",
	"kw": "kW", "KW": "kW", "kwh": "kWh", "KWh": "kWh", "KWH": "kWh", "kW·h": "kWh", "kW*h": "kWh", "kW.h": "kWh",
	"wh": "Wh", "W·h": "Wh", "va": "VA", "kva": "kVA", "KVA": "kVA", "VAr": "var", "VAR": "var", "kvar": "kvar", "kVAr": "kvar", "KVAR": "kvar",
	"hz": "Hz", "HZ": "Hz", "khz": "kHz", "KHz": "kHz",
	"Ω": "Ohm", "\u2126": "Ohm", "μs": "us", "µs": "us", "μA": "uA", "µA": "uA", "μV": "uV", "µV": "uV", "μm": "um", "µm": "um",
	"m³": "m3", "m^3": "m3", "m²": "m2", "m^2": "m2", "m³/h": "m3/h", "m^3/h": "m3/h", "m/s²": "m/s2", "m/s^2": "m/s2",
	"μg/m³": "ug/m3", "µg/m³": "ug/m3", "µg/m3": "ug/m3", "μg/m3": "ug/m3",
	"pa": "Pa", "hpa": "hPa", "kpa": "kPa", "KPa": "kPa", "㎾": "kW", "㎐": "Hz", "㎏": "kg",
	"RPM": "rpm", "r/min": "rpm", "l/min": "L/min", "l": "L", "sec": "s", "secs": "s", "msec": "ms",
}

// unitWords are matched without regard to case: spelt-out names.
var unitWords = map[string]string{
	"celsius": "degC", "degree celsius": "degC", "degrees celsius": "degC", "degrees_celsius": "degC", "centigrade": "degC",
	"fahrenheit": "degF", "degrees fahrenheit": "degF", "degrees_fahrenheit": "degF", "kelvin": "K",
	"percent": "%", "pct": "%", "per cent": "%",
	"volt": "V", "volts": "V", "ampere": "A", "amperes": "A", "amp": "A", "amps": "A",
	"watt": "W", "watts": "W", "kilowatt": "kW", "kilowatts": "kW", "kilowatt hour": "kWh", "kilowatt-hour": "kWh", "kilowatt hours": "kWh",
	"hertz": "Hz", "ohm": "Ohm", "ohms": "Ohm", "pascal": "Pa", "pascals": "Pa", "bar": "bar",
	"second": "s", "seconds": "s", "millisecond": "ms", "milliseconds": "ms", "microsecond": "us", "microseconds": "us",
	"minute": "min", "minutes": "min", "hour": "h", "hours": "h",
	"byte": "B", "bytes": "B", "metre": "m", "metres": "m", "meter": "m", "meters": "m", "litre": "L", "litres": "L", "liter": "L", "liters": "L",
	"degree": "deg", "degrees": "deg",
}
