package scorer

type Label uint8
type SubLabel uint8
type Severity uint8
