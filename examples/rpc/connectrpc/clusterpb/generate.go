// Package clusterpb is what protoc-gen-go and protoc-gen-connect-go make of cluster.proto.
package clusterpb

//go:generate protoc -I.. --go_out=. --go_opt=paths=source_relative --connect-go_out=. --connect-go_opt=paths=source_relative cluster.proto
