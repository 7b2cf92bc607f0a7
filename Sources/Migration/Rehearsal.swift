internal import LinuxSystem
internal import MigrationStream

/// Goes once through what a destination does in the downtime, so that the real time finds code and types in memory.
///
/// The first look at a device's state in a process costs several times what any later one does: code is read from the
/// program's file, generic types are put together. And what was done long ago has left the processor's caches. The
/// machine's own state, as it is before anything has arrived, is saved, written as a stream, read and loaded again. The
/// machine must be paused, and is left as it was.
public func rehearseLoading(into machine: any MigratableMachine) {
    // Nothing depends on it: whatever fails here fails again when it matters, and is reported then.
    guard let bytes = try? rehearseSaving(of: machine), let sections = try? read(bytes, machine) else { return }
    try? machine.rehearseLoading(sections)
}

/// Goes once through what a source does in the downtime, for the same reasons; the guest may run.
///
/// - Returns: What would be sent, nil if the machine cannot tell.
@discardableResult
func rehearseSaving(of machine: any MigratableMachine) throws -> [UInt8]? {
    ProgramCode.populate()
    guard let sections = try machine.rehearseSaving() else { return nil }
    var bytes = headerBytes(machine) + sectionBytes(sections, firstID: MainChannel.firstDeviceSectionID)
    let text = Array(description(of: sections).utf8)
    bytes += written(6) { writer in
        StreamEncoder.writeEndOfStream(into: &writer)
        StreamEncoder.writeDescriptionHeader(byteCount: text.count, into: &writer)
    }
    return bytes + text
}

private func headerBytes(_ machine: any MigratableMachine) -> [UInt8] {
    written(13 + machine.machineName.utf8.count) { writer in
        StreamEncoder.writeHeader(into: &writer)
        StreamEncoder.writeConfiguration(machine: machine.machineName, subsections: [], into: &writer)
    }
}

private func read(_ bytes: [UInt8], _ machine: any MigratableMachine) throws -> [DeviceSection] {
    var decoder = StreamDecoder(options: .incoming)
    var position = 0
    var sections: [DeviceSection] = []
    while case .element(let element, let byteCount) = try decoder.next(
        in: bytes.span.bytes.extracting(position..<bytes.count), ended: true)
    {
        switch element {
        case .section(let header): try machine.checkSection(header)
        case .deviceState(let payload):
            let contents = payload.bytes.lowerBound + position..<payload.bytes.upperBound + position
            sections.append(
                bytes.withUnsafeBytes {
                    DeviceSection(
                        payload.section, UnsafeRawBufferPointer(rebasing: $0[contents]), decoded: decoder.deviceState)
                })
        default: break
        }
        position += byteCount
    }
    return sections
}
