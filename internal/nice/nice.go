// Package nice lets a process give way to others on the same processors: the kernel
// serves it as long as there is room, and later where there is not.
package nice
