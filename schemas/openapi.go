package schemas

import _ "embed"

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the contract of the HTTP API: OpenAPI 3.1 in YAML.
func OpenAPI() []byte { return openAPI }
