import Channel
import MigrationStream

/// XBZRLE: the input is an update for a page of the size that the first byte chooses. What it makes of the page
/// must be what encoding and applying that change makes of it again.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzXBZRLE(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let input = FuzzInput(start, count) else { return 0 }
    let pageByteCount = [64, 128, 300, 4096][Int(input.choice & 3)]
    let old = (0..<pageByteCount).map { UInt8(truncatingIfNeeded: $0 / 3) }
    guard let new = apply(input.bytes, to: old) else { return 0 }
    var room = [UInt8](repeating: 0, count: 3 * pageByteCount)
    var span = room.mutableSpan
    var raw = span.mutableBytes
    guard let length = XBZRLE.encode(old: old.span.bytes, new: new.span.bytes, into: &raw) else {
        preconditionFailure("no room in thrice the page")
    }
    precondition(apply(Array(room[..<length]), to: old) == new, "encoded and applied, the page differs")
    return 0
}

/// The page after `update`, nil if the update is refused; the page must then be untouched.
private func apply(_ update: [UInt8], to page: [UInt8]) -> [UInt8]? {
    var bytes = page
    var isRefused = false
    do {
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        do throws(StreamError) {
            try XBZRLE.apply(update.span.bytes, to: &raw)
        } catch {
            isRefused = true
        }
    }
    precondition(!isRefused || bytes == page, "a refused update changed the page")
    return isRefused ? nil : bytes
}
