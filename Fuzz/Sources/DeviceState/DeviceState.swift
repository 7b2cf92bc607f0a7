import Channel
import MigrationStream

/// Device sections: the first byte chooses the device, the second the version. What a loaded state is saved as must
/// load again, to the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDeviceState(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let input = FuzzInput(start, count) else { return 0 }
    let names = DeviceStateCatalog.names
    let base = names[Int(input.choice) % names.count]
    let name = base.hasPrefix("virtio") ? "virtio-mmio@00000000feb02e00/\(base)" : base
    guard let version = input.bytes.first else { return 0 }
    let payload = Array(input.bytes.dropFirst())
    do throws(StateError) {
        let extent = try DeviceStateCatalog.extent(
            of: name, version: Int(version), in: payload.span.bytes, isWhole: true)
        guard case .complete(let byteCount) = extent else { return 0 }
        precondition(byteCount <= payload.count, "\(byteCount) of \(payload.count) bytes")
        let whole = Array(payload[..<byteCount])
        _ = try DeviceStateCatalog.values(of: name, version: Int(version), whole)
        guard var device = DeviceStateCatalog.device(for: name) else { preconditionFailure("no device \(name)") }
        try device.load(whole, version: Int(version))
        checkSaved(device, name: name)
    } catch {
        precondition(!error.description.isEmpty)
    }
    return 0
}

private func checkSaved(_ device: any DeviceState, name: String) {
    let saved = device.save()
    guard var again = DeviceStateCatalog.device(for: name) else { preconditionFailure("no device \(name)") }
    do throws(StateError) {
        try again.load(saved.bytes, version: saved.version)
    } catch {
        preconditionFailure("\(name) as saved: \(error)")
    }
    precondition(again.save().bytes == saved.bytes, "\(name) saved twice differs")
}
