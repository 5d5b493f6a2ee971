// Package proof holds the tests of terraform/.
//
// What comes in: the modules, examples and environments beside this module's folder,
// and the states that `terraform test` reaches with mocked providers. What goes out:
// findings, each naming a resource and a rule. Order: formatting, validation, tests,
// rules, then the mutations, each of which must be found. State: copies in temporary
// folders; nothing is written into the tree. On failure the finding says what would
// have been open.
package proof
