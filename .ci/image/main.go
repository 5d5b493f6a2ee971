// Command image builds the container image of EdgePulse without a container
// engine: a static binary, the certificates of public authorities, a user that is
// not root, and nothing else. The same inputs give the same digest.
//
//	go run . -out edgepulse.oci.tar      an OCI layout, e.g. for `skopeo copy oci-archive:…` or `docker load`
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	var o options
	flag.StringVar(&o.Source, "source", "../..", "folder of the repository")
	flag.StringVar(&o.CA, "ca", "/etc/ssl/certs/ca-certificates.crt", "certificates to trust")
	flag.StringVar(&o.Version, "version", "dev", "version, also the tag in the layout")
	flag.StringVar(&o.Arch, "arch", "amd64", "amd64 or arm64")
	out := flag.String("out", "edgepulse.oci.tar", "file to write")
	flag.Parse()
	digest, err := o.write(*out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Printf("%s  %s\n", digest, *out)
}
