import Foundation
import MigrationStream
import Testing

/// A device section of a stream that QEMU wrote, from Tests/Fixtures/DeviceState/sections.txt.
struct FixtureSection: CustomTestStringConvertible, Sendable {
    let stream: String
    let idstr: String
    let instance: Int
    let version: Int
    let payload: [UInt8]
    /// The file with the stream's description, or nil if the stream has none.
    let descriptionFile: String?

    var testDescription: String { "\(stream) \(idstr)#\(instance)" }

    var description: DeviceDescription? {
        get throws {
            guard let descriptionFile else { return nil }
            return try Fixtures.description(descriptionFile).device(named: idstr, instance: instance)
        }
    }
}

enum Fixtures {
    static let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/DeviceState")

    static func text(_ file: String) -> [UInt8] {
        // A test without its fixtures must not pass.
        guard let data = try? Data(contentsOf: directory.appending(path: file)) else {
            fatalError("The fixture \(file) is missing.")
        }
        return [UInt8](data)
    }

    static func description(_ file: String) throws -> VMDescription { try VMDescription(utf8: text(file)) }

    /// Every file with a description.
    static let descriptionFiles: [String] = Array(Set(sections.compactMap(\.descriptionFile))).sorted()

    static let sections: [FixtureSection] = {
        var sections: [FixtureSection] = []
        var stream = ""
        var descriptionFile: String?
        for line in String(decoding: text("sections.txt"), as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            if words[0] == "stream" {
                stream = words[1]
                descriptionFile = words[2] == "-" ? nil : words[2]
                continue
            }
            sections.append(
                FixtureSection(
                    stream: stream, idstr: words[0], instance: Int(words[1]) ?? -1, version: Int(words[2]) ?? -1,
                    payload: words.dropFirst(3).flatMap(bytes), descriptionFile: descriptionFile))
        }
        return sections
    }()

    /// `00*24` or hexadecimal digits.
    static func bytes(_ word: String) -> [UInt8] {
        let parts = word.split(separator: "*")
        if parts.count == 2, let byte = UInt8(parts[0], radix: 16), let count = Int(parts[1]) {
            return [UInt8](repeating: byte, count: count)
        }
        let digits = Array(word)
        return stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(String(digits[$0...($0 + 1)]), radix: 16) }
    }
}

/// The bytes of hexadecimal text; spaces, line ends and what follows `//` on a line do not count.
func hexadecimalBytes(_ text: String) -> [UInt8] {
    text.split(separator: "\n").flatMap { line in
        line.split(separator: "//", omittingEmptySubsequences: false)[0].split(separator: " ").flatMap {
            Fixtures.bytes(String($0))
        }
    }
}
