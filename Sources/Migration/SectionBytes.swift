internal import MigrationStream

/// What `body` writes into `byteCount` bytes.
func written(_ byteCount: Int, _ body: (inout StreamWriter) -> Void) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
        var writer = StreamWriter(UnsafeMutableRawBufferPointer(buffer).mutableBytes)
        body(&writer)
        count = writer.byteCount
    }
}

/// The sections of devices as they stand in a stream, in their order, with ids from `firstID` on.
func sectionBytes(_ sections: [DeviceSection], firstID: UInt32) -> [UInt8] {
    var bytes: [UInt8] = []
    for (section, id) in zip(sections, firstID...) {
        let header = SectionHeader(
            kind: .full, id: id, name: section.name, instance: section.instance, version: section.version)
        bytes += written(header.byteCount) { header.write(into: &$0) }
        bytes += section.state
        bytes += written(5) { StreamEncoder.writeFooter(sectionID: id, into: &$0) }
    }
    return bytes
}
