// Channels of the migration engine: tcp, unix, fd, exec and file.
