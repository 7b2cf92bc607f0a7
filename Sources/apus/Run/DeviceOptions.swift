import ArgumentParser
import LinuxSystem

/// `FILE[,readonly]`
struct DiskOption: Equatable {
    var path: String
    var isReadOnly = false

    init(_ text: String) throws {
        path = text
        if text.hasSuffix(",readonly") {
            path = String(text.dropLast(9))
            isReadOnly = true
        }
        if path.isEmpty { throw ValidationError("It names no file.") }
        // A name may have a comma, but one that is not there is more likely a property misspelt.
        if !FileSystem.exists(path), let comma = path.lastIndex(of: ","), comma != path.startIndex {
            let property = path[path.index(after: comma)...]
            if FileSystem.exists(String(path[..<comma])) {
                throw ValidationError("'\(property)' is not known: FILE[,readonly].")
            }
        }
    }
}

/// `tap=NAME[,mac=ADDRESS]`
struct NetworkOption: Equatable {
    var tap = ""
    /// nil: made of the card's place.
    var mac: [UInt8]?

    init(_ text: String) throws {
        func fail(_ reason: String) -> ValidationError { ValidationError(reason) }
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            switch (pair[0], pair.count) {
            case ("tap", 2): tap = pair[1]
            case ("mac", 2):
                let parts = pair[1].split(separator: ":", omittingEmptySubsequences: false)
                let bytes = parts.compactMap { $0.count == 2 ? UInt8($0, radix: 16) : nil }
                guard bytes.count == 6, parts.count == 6 else {
                    throw fail("'\(pair[1])' is no MAC address, such as 52:54:00:12:34:56.")
                }
                guard bytes[0] & 1 == 0 else { throw fail("\(pair[1]) is the address of a group, not of a card.") }
                mac = bytes
            default: throw fail("'\(part)' is not known: tap=NAME[,mac=ADDRESS].")
            }
        }
        guard !tap.isEmpty else { throw fail("It names no tap: tap=NAME[,mac=ADDRESS].") }
        guard tap.utf8.count < 16 else { throw fail("'\(tap)' is longer than an interface's name, 15 bytes.") }
    }
}

/// Where a serial port or a console leads: `stdio`, `none`, `pty`, `unix:PATH`, or a file.
enum LinePlace: Equatable {
    case stdio
    case nowhere
    case terminal
    case socket(path: String)
    case file(path: String)

    init(_ text: String) throws {
        switch text {
        case "stdio": self = .stdio
        case "none": self = .nowhere
        case "pty": self = .terminal
        case _ where text.hasPrefix("unix:"):
            let path = String(text.dropFirst(5))
            try checkSocketPath(path)
            self = .socket(path: path)
        case "": throw ValidationError("It leads nowhere: stdio, none, pty, unix:PATH, or a file.")
        default: self = .file(path: text)
        }
    }
}

/// `PLACE[,ports=N]`
struct ConsoleOption: Equatable {
    var place: LinePlace
    var portCount = 1

    init(_ text: String) throws {
        var place = text
        if let range = text.lastRange(of: ",ports=") {
            place = String(text[..<range.lowerBound])
            guard let count = Int(text[range.upperBound...]), (1...31).contains(count) else {
                throw ValidationError("1 to 31 ports are possible.")
            }
            portCount = count
        }
        self.place = try LinePlace(place)
    }
}

extension String {
    fileprivate func lastRange(of part: String) -> Range<String.Index>? {
        var start = endIndex
        while start > startIndex {
            start = index(before: start)
            if self[start...].hasPrefix(part) { return start..<index(start, offsetBy: part.count) }
        }
        return nil
    }
}

/// The kernel takes 107 bytes.
func checkSocketPath(_ path: String) throws {
    if path.isEmpty { throw ValidationError("It names no socket: unix:PATH.") }
    if path.utf8.count > 107 {
        throw ValidationError("The path has \(path.utf8.count) bytes, of which a socket's can have 107.")
    }
}
