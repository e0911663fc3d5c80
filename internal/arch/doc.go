// Package arch holds no code, only tests of the project's shape: that imports
// follow the layers of ARCHITECTURE.md, that third-party modules stay where
// they belong, that files and functions keep a readable size, and that the
// documents point at things that exist.
package arch
