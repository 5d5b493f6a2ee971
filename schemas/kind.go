package schemas

// Kind tells what an encoded Entry holds without decoding it: the field number
// of its oneof, which is the first byte of the encoding shifted by the wire type.
type Kind uint8

// The kinds, by their field numbers in log.proto.
const (
	KindUnknown        Kind = 0
	KindBatch          Kind = 1
	KindTick           Kind = 2
	KindControl        Kind = 3
	KindMetricDeclared Kind = 4
	KindPoints         Kind = 5
	KindReceipt        Kind = 6
	KindFeatures       Kind = 7
	KindScore          Kind = 8
	KindModelVersion   Kind = 9
	KindAlertEvent     Kind = 10
	KindDelivery       Kind = 11
	KindDeadLetter     Kind = 12
)

// KindOf reads the kind of an encoded entry; KindUnknown for anything else.
func KindOf(entry []byte) Kind {
	const lengthDelimited = 2
	if len(entry) == 0 || entry[0]&7 != lengthDelimited || entry[0]&0x80 != 0 {
		return KindUnknown
	}
	k := Kind(entry[0] >> 3)
	if k > KindDeadLetter {
		return KindUnknown
	}
	return k
}

// Forwarded tells whether every stage passes entries of this kind on verbatim.
func (k Kind) Forwarded() bool {
	return k == KindTick || k == KindControl || k == KindMetricDeclared
}
