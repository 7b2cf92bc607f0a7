import Channel
import MigrationStream

/// The JSON description at the end of a stream, and state that is read by it: the text is what stands before the
/// first zero byte, the state what stands behind it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJSON(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let input = FuzzInput(start, count) else { return 0 }
    let parts = input.bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
    var limits = JSONValue.Limits()
    limits.valueCount = 1 << 14
    do throws(StateError) {
        let description = try VMDescription(utf8: Array(parts[0]), limits: limits)
        let state = parts.count > 1 ? Array(parts[1]) : []
        for device in description.devices.prefix(4) { try read(state, by: device) }
    } catch {
        precondition(!error.description.isEmpty)
    }
    return 0
}

/// What is read of `state` by a description is written again as it was, and has the size that was described.
private func read(_ state: [UInt8], by device: DeviceDescription) throws(StateError) {
    let values = try DescribedStateReader.values(of: state, describedBy: device)
    precondition(values.encoded == state, "\(device.name) is written differently")
}
